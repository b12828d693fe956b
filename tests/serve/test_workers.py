"""Several processes behind one port: one set of keys, one set of metrics, one weight in memory."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from hardcast.serve.access.keys import KeyStore
from hardcast.serve.access.limits import Limits
from tests.serve.served import Server, chat, metric, server, wait_for

CHAT = "/v1/chat/completions"

if not hasattr(os, "fork"):
    pytest.skip("this system cannot fork processes", allow_module_level=True)


def children(running: Server) -> list[int]:
    pid = running.process.pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_two_workers_answer_as_one(tiny_image: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.sqlite3"
    store = KeyStore(path)
    key, text = store.create("Ada")
    _, limited = store.create("Eve", limits=Limits(requests=6))
    options = ["--workers", "2", "--threads", "1", "--keys", "--keys-file", str(path)]
    with server(tiny_image, *options) as running, running.client(text) as client:
        assert len(children(running)) == 2
        headers = {"Authorization": f"Bearer {text}"}

        def ask(seed: int) -> httpx.Response:
            body = chat(temperature=1, seed=seed % 4, max_tokens=30)
            return httpx.post(running.url + CHAT, json=body, headers=headers, timeout=60)

        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(ask, range(40)))
        assert [response.status_code for response in found] == [200] * 40
        said = {
            (i % 4, response.json()["choices"][0]["message"]["content"])
            for i, response in enumerate(found)
        }
        assert len({seed for seed, _ in said}) == len(said)  # one text a seed, whoever answers
        wait_for(lambda: sum(u.requests for u in store.usage(key.id)) == 40, "usage")
        # Any of them speaks for all: 40 answers, however they were divided.
        text_of = client.get("/metrics").text
        assert metric(text_of, "hardcast_answers_total") == 40
        assert metric(text_of, "hardcast_completion_tokens_total") == sum(
            used.completion_tokens for used in store.usage(key.id)
        )
        # One limit for all: six at once, and one every ten seconds.
        headers = {"Authorization": f"Bearer {limited}"}
        begun = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            passed = [r.status_code for r in pool.map(ask, range(24))].count(200)
        assert 6 <= passed <= 6 + (time.monotonic() - begun) / 10
        assert running.stop() == 0
    store.close()


def test_a_worker_that_dies_is_begun_again(tiny_image: Path) -> None:
    with server(tiny_image, "--workers", "2", "--threads", "1") as running:
        victim = children(running)[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(
            lambda: victim not in children(running) and len(children(running)) == 2, "new worker"
        )
        for _ in range(8):
            assert httpx.post(running.url + CHAT, json=chat(), timeout=60).status_code == 200
        assert any("begun again" in line for line in running.lines)
        assert running.stop(signal.SIGINT) == 0


def test_workers_end_with_the_process_that_began_them(tiny_image: Path) -> None:
    with server(tiny_image, "--workers", "2", "--threads", "1") as running:
        pids = children(running)
        assert running.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "end of workers")
