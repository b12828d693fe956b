"""Pages of other origins: off unless they are named, then all that a browser asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.served import Server, chat, events, server

CHAT = "/v1/chat/completions"
PAGE, OTHER = "https://chat.example", "https://evil.example"
ALLOW, VARY = "access-control-allow-origin", "vary"


@pytest.fixture(scope="module")
def named(tiny_image: Path) -> Iterator[Server]:
    options = ["--allow-origin", PAGE, "--allow-origin", "HTTP://localhost:5173"]
    with server(tiny_image, "--name", "tiny", "--threads", "1", *options) as running:
        yield running


def preflight(running: Server, origin: str, **more: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
        **more,
    }
    return httpx.options(running.url + CHAT, headers=headers)


def test_nothing_is_allowed_unless_it_is_said(tiny_server: Server) -> None:
    asked = preflight(tiny_server, PAGE)
    assert asked.status_code == 405
    with tiny_server.client(headers={"Origin": PAGE}) as client:
        answered = client.post(CHAT, json=chat())
        assert answered.status_code == 200
    for response in (asked, answered):
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_named_page_may_ask(named: Server) -> None:
    for origin in (PAGE, "http://localhost:5173"):
        response = preflight(named, origin, **{"Access-Control-Request-Private-Network": "true"})
        assert response.status_code == 200
        allowed = {k: v for k, v in response.headers.items() if k.startswith("access-control")}
        assert allowed[ALLOW] == origin
        assert "POST" in allowed["access-control-allow-methods"]
        for header in ("authorization", "content-type", "x-stainless-os"):
            assert header in allowed["access-control-allow-headers"]
        assert allowed["access-control-allow-private-network"] == "true"
        assert "access-control-allow-credentials" not in allowed
        assert "Origin" in response.headers[VARY]
        assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("origin", [
    OTHER, "null", "http://chat.example", PAGE + ".evil.example", PAGE + ":8443", PAGE + "/",
])  # fmt: skip
def test_no_other_page_may(origin: str, named: Server) -> None:
    assert ALLOW not in preflight(named, origin).headers
    with named.client(headers={"Origin": origin}) as client:
        assert ALLOW not in client.get("/v1/models").headers


def test_answers_errors_and_streams_may_be_read(named: Server) -> None:
    def check(response: httpx.Response, status: int) -> None:
        assert response.status_code == status
        assert response.headers[ALLOW] == PAGE
        assert "Origin" in response.headers[VARY]
        shown = response.headers["access-control-expose-headers"].lower()
        for name in ("x-request-id", "retry-after", "x-ratelimit-remaining-tokens"):
            assert name in shown

    with named.client(headers={"Origin": PAGE}) as client:
        check(client.get("/v1/models"), 200)
        check(client.post(CHAT, json=chat()), 200)
        check(client.post(CHAT, json={}), 400)
        check(client.get("/v1/nothing"), 404)
        check(client.put("/health"), 405)
        check(client.post(CHAT, content=b"{}", headers={"Content-Type": "text/plain"}), 415)
        with client.stream("POST", CHAT, json=chat(stream=True)) as response:
            check(response, 200)
            assert list(events(response))
        # Its name is not this machine's: an allowed page changes nothing of that.
        check(client.get("/v1/models", headers={"Host": "evil.example"}), 403)
        assert ALLOW not in client.get("/v1/models", headers={"Origin": OTHER}).headers
    with named.client() as client:  # a cache must not keep an answer without them for a page
        assert "Origin" in client.get("/v1/models").headers[VARY]


def test_any_page_and_a_key(tiny_image: Path, tmp_path: Path) -> None:
    from hardcast.serve.access.keys import KeyStore

    store = KeyStore(tmp_path / "keys")
    _, key = store.create("Ada")
    store.close()
    options = ["--keys", "--keys-file", str(tmp_path / "keys"), "--allow-origin", "*"]
    with server(tiny_image, "--threads", "1", *options) as running:
        asked = preflight(running, OTHER)  # a browser sends no key with it
        assert (asked.status_code, asked.headers[ALLOW]) == (200, "*")
        for more, status in ((None, 401), (key, 200)):
            with running.client(more, headers={"Origin": OTHER}) as client:
                answered: Any = client.get("/v1/models")
            assert (answered.status_code, answered.headers[ALLOW]) == (status, "*")
