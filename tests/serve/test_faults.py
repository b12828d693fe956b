"""What goes wrong: bodies, readers, clients that leave, kills, full queues, full disks."""

from __future__ import annotations

import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hardcast.serve.access.keys import KeyStore
from hardcast.serve.access.limits import Limits
from hardcast.serve.openai import replies
from tests.serve.served import CONTEXT, Server, build_image, chat, events, metric, server, wait_for

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
ENDLESS = {"logit_bias": {"0": -100, "2": -100}}  # never the end token
LONG = 4096  # a context in which an answer takes a while


@pytest.fixture(scope="module")
def long_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_image(tmp_path_factory.mktemp("long"), context=LONG)


@pytest.fixture(scope="module")
def long_server(long_image: Path) -> Iterator[Server]:
    options = ["--threads", "1", "--max-running", "2", "--queue", "2"]
    with server(long_image, *options) as running:
        yield running


def value(running: Server, name: str) -> float:
    return metric(httpx.get(running.url + "/metrics").text, f"hardcast_{name}")


def deep(depth: int) -> bytes:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    tool = b'{"type":"function","function":{"name":"f","parameters":' + nested + b"}}"
    return b'{"messages":[{"role":"user","content":"x"}],"tools":[' + tool + b"]}"


@pytest.mark.parametrize("body", [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"messages": 1}',
    b'{"messages": [1, null, {}]}',
    b'{"messages": [{"role": "user", "content": {"a": 1}}]}',
    b'{"messages": [{"role": "user"}], "n": 1e999}',
    b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    b'{"messages": [{"role": "user", "content": "x"}], "temperature": Infinity}',
    b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}",
    b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "\\ud800": 1}',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    deep(150),
    deep(5000),
], ids=lambda body: repr(body[:40]))  # fmt: skip
def test_a_bad_body_is_a_400(body: bytes, tiny_server: Server) -> None:
    with tiny_server.client(headers={"Content-Type": "application/json"}) as client:
        for path in (CHAT, TEXT, "/tokenize", "/detokenize"):
            response = client.post(path, content=body)
            assert response.status_code == 400, (path, response.text)
            replies.Error.model_validate(response.json())


def test_a_prompt_of_ten_megabytes(tiny_server: Server) -> None:
    for text in ("x" * 10_000_000, "word " * 2_000_000, "é" * 5_000_000):
        for path, body in ((CHAT, chat(text)), (TEXT, {"prompt": text})):
            with tiny_server.client() as client:
                response = client.post(path, json=body)
            assert response.status_code == 400
            assert response.json()["error"]["code"] == "context_length_exceeded"
    with tiny_server.client() as client:
        for values in ([1] * 3_000_000, ["a"] * 3_000_000, [1] * 400_000):
            begun = time.monotonic()
            assert client.post(TEXT, json={"prompt": values}).status_code == 400
            assert time.monotonic() - begun < 5


def test_a_body_beyond_the_limit_is_not_read(tiny_server: Server) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b" " * (1 << 20)

    with tiny_server.client(headers={"Content-Type": "application/json"}) as client:
        large = client.post(CHAT, content=b" " * (17 << 20))
        assert (large.status_code, large.json()["error"]["type"]) == (413, "invalid_request_error")
        try:
            assert client.post(CHAT, content=endless()).status_code == 413
        except httpx.TransportError:
            pass  # the connection was closed before all was sent
        assert client.get("/health").status_code == 200


def test_a_prompt_just_fits_or_is_told_how_long_it_is(tiny_server: Server) -> None:
    with tiny_server.client() as client:
        assert client.post(TEXT, json={"prompt": [5] * CONTEXT}).status_code == 200
        error = client.post(TEXT, json={"prompt": [5] * (CONTEXT + 1)}).json()["error"]
    assert str(CONTEXT) in error["message"]
    assert str(CONTEXT + 1) in error["message"]
    assert error["code"] == "context_length_exceeded"


def test_a_full_queue_says_when_to_come_back(long_server: Server) -> None:
    body = chat(max_tokens=LONG, stream=True, **ENDLESS)
    clients = [long_server.client() for _ in range(4)]
    streams = [client.stream("POST", CHAT, json=body) for client in clients]
    try:
        for stream in streams:
            assert stream.__enter__().status_code == 200
        wait_for(lambda: value(long_server, "running") == 2, "two answers")
        response = httpx.post(long_server.url + CHAT, json=body)
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["error"]["code"] == "queue_full"
        assert httpx.post(long_server.url + CHAT, json=chat(n=5)).status_code == 429
    finally:
        for client in clients:
            client.close()
    wait_for(lambda: value(long_server, "running") + value(long_server, "waiting") == 0, "quiet")
    assert httpx.post(long_server.url + CHAT, json=chat()).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(stream: bool, long_server: Server) -> None:
    before = value(long_server, "completion_tokens_total")
    body = json.dumps(chat(max_tokens=LONG, stream=stream, **ENDLESS)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    port = httpx.URL(long_server.url).port
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_for(lambda: value(long_server, "running") == 1, "the answer")
    wait_for(lambda: value(long_server, "running") == 0, "the end of it", 5)
    assert value(long_server, "completion_tokens_total") - before < LONG / 2


def test_a_slow_reader_pauses_and_loses_nothing(long_server: Server) -> None:
    """It reads nothing for a while: others go on, memory stays, and then it gets every token."""
    # Megabytes, of which the kernel's buffers hold a part only.
    body = chat(max_tokens=4000, stream=True, logprobs=True, top_logprobs=20, **ENDLESS)
    with long_server.client() as client, client.stream("POST", CHAT, json=body) as response:
        wait_for(
            lambda: (value(long_server, "running"), value(long_server, "waiting")) == (0, 1),
            "pause",
            60,
        )
        made, memory = value(long_server, "steps_total"), long_server.memory_bytes()
        time.sleep(0.5)
        assert value(long_server, "steps_total") == made
        assert httpx.post(long_server.url + CHAT, json=chat()).status_code == 200
        assert long_server.memory_bytes() - memory < 50 << 20
        tokens = [c for event in events(response) for c in event["choices"] if c["logprobs"]]
    assert len(tokens) == 4000


def test_sigterm_lets_answers_end(long_image: Path) -> None:
    with server(long_image, "--threads", "1") as running, running.client() as client:
        body = chat(max_tokens=300, stream=True, **ENDLESS)
        with client.stream("POST", CHAT, json=body) as response:
            lines = response.iter_lines()
            next(lines)
            running.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line.startswith("data: ")]
        assert rest[-1] == "data: [DONE]"
        assert (
            json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
        )
        assert len(rest) > 30
        assert running.process.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(running.url + "/health")


def test_a_drain_that_takes_too_long_is_cut(long_image: Path) -> None:
    with server(long_image, "--threads", "1", "--drain", "0") as running:
        with running.client() as client:
            body = chat(max_tokens=LONG, stream=True, **ENDLESS)
            with client.stream("POST", CHAT, json=body) as response:
                found = events(response)
                next(found)
                running.process.send_signal(signal.SIGTERM)
                *_, last = found
            assert last["error"]["code"] == "service_unavailable"
        assert running.process.wait(30) == 0


def test_a_kill_in_mid_stream_keeps_keys_and_usage(long_image: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    store = KeyStore(path)
    key, text = store.create("Ada", limits=Limits(requests=1000, tokens=100_000))
    options = ["--threads", "1", "--keys", "--keys-file", str(path)]
    for round_number in (1, 2):
        with server(long_image, *options) as running, running.client(text) as client:
            assert client.post(CHAT, json=chat(max_tokens=4)).status_code == 200
            wait_for(
                lambda n=round_number: sum(u.requests for u in store.usage(key.id)) == n, "usage"
            )
            body = chat(max_tokens=LONG, stream=True, **ENDLESS)
            with client.stream("POST", CHAT, json=body) as response:
                lines = response.iter_lines()
                next(lines)
                assert running.stop(signal.SIGKILL) == -signal.SIGKILL
                with pytest.raises(httpx.TransportError):
                    list(lines)
    assert store.find(text) == key
    store._db.execute("PRAGMA integrity_check")
    assert sum(used.completion_tokens for used in store.usage(key.id)) == 8
    store.close()


def test_a_full_disk_stops_nothing(tiny_image: Path, tmp_path: Path) -> None:
    """Files may grow no more: usage is lost, said once; answers and limits go on."""
    path, access = tmp_path / "keys.sqlite3", tmp_path / "access.log"
    store = KeyStore(path)
    _, text = store.create("Ada", limits=Limits(requests=5))
    store.close()
    full = 40 << 10  # bytes: what SQLite needs to begin, and room for little more

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, full))

    options = ["--threads", "1", "--keys", "--keys-file", str(path), "--access-log", str(access)]
    with server(tiny_image, *options, preexec=limit) as running:
        with running.client(text) as client:
            found = [client.post(CHAT, json=chat(max_tokens=2)).status_code for _ in range(7)]
        assert found == [200] * 5 + [429] * 2
        said = [line for line in running.lines if "serving goes on" in line]
        assert len(said) == 1
        assert running.stop() == 0


def test_many_at_once_get_what_they_get_alone(tiny_server: Server) -> None:
    bodies = [chat(f"question {i}", temperature=1, seed=i, max_tokens=20) for i in range(24)]

    def ask(body: dict[str, Any]) -> str:
        response = httpx.post(tiny_server.url + CHAT, json=body, timeout=60)
        return str(response.json()["choices"][0]["message"]["content"])

    alone = [ask(body) for body in bodies]
    together: dict[int, str] = {}

    def work(index: int) -> None:
        together[index] = ask(bodies[index])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[i] for i in range(len(bodies))] == alone


def test_the_access_log(tiny_image: Path, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with server(tiny_image, "--threads", "1", "--access-log", str(path)) as running:
        body = chat("a secret", max_tokens=3)
        request = httpx.post(running.url + CHAT, json=body).headers["x-request-id"]
        httpx.get(running.url + "/v1/nothing")
        assert running.stop() == 0  # a line is written after its reply: the drain waits for it
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (asked,) = [line for line in lines if line["request"] == request]
    assert (asked["status"], asked["completion_tokens"]) == (200, 3)
    assert [line["status"] for line in lines if line["path"] == "/v1/nothing"] == [404]
    assert "secret" not in path.read_text()
