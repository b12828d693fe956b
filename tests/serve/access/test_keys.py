"""Keys: made, hashed, compared, limited, revoked, asked for: the store, the verb, the API."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast import cli
from hardcast.errors import HardcastError
from hardcast.serve.access.keys import MOST_PENDING, KeyStore
from hardcast.serve.access.limits import Account, Limits
from hardcast.serve.access.usage import Usage
from tests.serve.served import Server, chat, server, wait_for

CHAT = "/v1/chat/completions"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    made = KeyStore(tmp_path / "keys.sqlite3")
    yield made
    made.close()


def test_a_key_is_found_by_its_whole_text_alone(store: KeyStore) -> None:
    key, text = store.create("Ada", "ada@example.org", Limits(5, 100))
    assert store.find(text) == key
    swapped = text[:-1] + ("A" if text[-1] != "A" else "B")
    for wrong in ("", "hc-", swapped, text[:-1], text + "x", text.upper(), "é" * 55, " " + text):
        assert store.find(wrong) is None


def test_the_file_holds_no_secret(store: KeyStore) -> None:
    _, text = store.create("Ada")
    secret = text[len("hc-aaaaaaaa-") :]
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    written = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert b"Ada" in written
    assert secret.encode() not in written
    assert store.path.stat().st_mode & 0o077 == 0


def test_a_revoked_key_is_none(store: KeyStore) -> None:
    key, text = store.create("Ada")
    store.revoke(key.id)
    assert store.find(text) is None
    with pytest.raises(HardcastError, match="no key"):
        store.revoke(key.id)
    with pytest.raises(HardcastError, match="no key"):
        store.revoke("unknown1")


def test_access_is_asked_for_and_decided_once(store: KeyStore) -> None:
    first = store.request_access("Ada", "ada@example.org", "engines")
    second = store.request_access("Eve", "eve@example.org", "none")
    assert [asked.id for asked in store.asked()] == [first, second]
    key, text = store.approve(first, Limits(tokens=10))
    assert store.find(text) == key
    assert (key.name, key.email, key.limits.tokens) == ("Ada", "ada@example.org", 10)
    store.deny(second)
    assert store.asked() == []
    assert [asked.state for asked in store.asked(everything=True)] == ["approved", "denied"]
    for decide in (store.approve, store.deny):
        with pytest.raises(HardcastError, match="no request"):
            decide(first)


@pytest.mark.parametrize("email", ["nope", "a@b", "a b@c.de", "a@b.c\n", "a" * 250 + "@b.de"])
def test_an_email_that_is_none(
    email: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys"
    argv = ["keys", "create", "Ada", "--email", email, "--keys-file", str(path)]
    assert cli.main(argv) == 2
    assert "--email" in capsys.readouterr().err and not path.exists()


def test_the_queue_of_requests_is_bounded(store: KeyStore) -> None:
    for _ in range(MOST_PENDING):
        store.request_access("A", "a@example.org", "x")
    with pytest.raises(HardcastError, match="too many"):
        store.request_access("A", "a@example.org", "x")


def test_a_bad_file_is_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "keys.sqlite3"
    damaged.write_bytes(b"this is no database " * 100)
    with pytest.raises(HardcastError, match="cannot be used"):
        KeyStore(damaged)
    with pytest.raises(HardcastError, match="is no folder"):
        KeyStore(damaged / "below")


def test_usage_of_many_threads_and_processes_adds_up(store: KeyStore) -> None:
    key, _ = store.create("Ada")
    others = [KeyStore(store.path) for _ in range(4)]

    def work(mine: KeyStore) -> None:
        for _ in range(50):
            mine.charge(key, Usage(3, 1, 2), 1e9)

    threads = [threading.Thread(target=work, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (used,) = store.usage(key.id)
    assert (used.requests, used.prompt_tokens, used.cached_tokens) == (200, 600, 200)
    assert used.completion_tokens == 400
    for other in others:
        other.close()


# Limits


@given(
    limit=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 20, allow_nan=False), max_size=200),
)
def test_no_more_requests_than_the_limit_allows(limit: int, gaps: list[float]) -> None:
    """In any stretch of time at most a full bucket and what flowed in meanwhile."""
    account, now, passed = Account(), 0.0, []
    for gap in gaps:
        now += gap
        account, refused = account.admit(Limits(requests=limit), 1, now)
        if refused is None:
            passed.append(now)
        else:
            assert refused.seconds > 0
            later, again = account.admit(Limits(requests=limit), 1, now + refused.seconds + 1e-6)
            assert again is None
    for first, begun in enumerate(passed):
        for last in range(first, len(passed)):
            allowed = limit + (passed[last] - begun) * limit / 60
            assert last - first + 1 <= allowed + 1e-6


@given(limit=st.integers(1, 1000), prompt=st.integers(1, 5000), answer=st.integers(0, 5000))
def test_tokens_are_paid_off_before_the_next(limit: int, prompt: int, answer: int) -> None:
    limits = Limits(tokens=limit)
    account, refused = Account().admit(limits, prompt, 0.0)
    assert refused is None  # a full bucket lets anything in, else a large prompt never could
    account = account.charge(limits, answer, 0.0)
    debt = prompt + answer - limit
    _, refused = account.admit(limits, 1, 0.0)
    assert (refused is None) == (debt <= -1)
    if refused is not None:
        assert refused.seconds == pytest.approx((debt + 1) * 60 / limit)
        _, again = account.admit(limits, 1, refused.seconds + 1e-6)
        assert again is None


def test_a_clock_that_goes_back_gives_nothing() -> None:
    limits = Limits(requests=1)
    account, _ = Account().admit(limits, 1, 1000.0)
    account, refused = account.admit(limits, 1, 0.0)
    assert refused is not None
    _, refused = account.admit(limits, 1, 1030.0)
    assert refused is not None


# The verb


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ["--keys-file", str(tmp_path / "new" / "keys.sqlite3")]
    made = said(["keys", "create", "Ada", "--requests-per-minute", "5", *file], capsys)
    (listed,) = said(["keys", "list", *file], capsys)["keys"]
    assert (listed["id"], listed["requests_per_minute"]) == (made["id"], 5)
    assert "key" not in listed
    store = KeyStore(tmp_path / "new" / "keys.sqlite3")
    assert store.find(made["key"]) is not None
    asked = store.request_access("Eve", "eve@example.org", "a\x1b[31m\nline")
    store.close()
    assert said(["keys", "requests", *file], capsys)["requests"][0]["id"] == asked
    assert cli.main(["keys", "requests", *file]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown  # a stranger's text must not move a terminal's cursor
    approved = said(["keys", "approve", asked, "--tokens-per-minute", "9", *file], capsys)
    assert approved["email"] == "eve@example.org"
    assert said(["keys", "usage", *file], capsys) == {"usage": []}
    said(["keys", "revoke", made["id"], *file], capsys)
    for argv in (
        ["revoke", made["id"]],
        ["deny", asked],
        ["create"],
        ["list", "x"],
        ["usage", "x"],
    ):
        assert cli.main(["keys", *argv, *file]) == 2
        assert capsys.readouterr().err.count("\n") == 1


# The API


@pytest.fixture(scope="module")
def keyed(tiny_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    path = tmp_path_factory.mktemp("keys") / "keys.sqlite3"
    with server(tiny_image, "--threads", "1", "--keys", "--keys-file", str(path)) as running:
        made = Keyed(running, KeyStore(path))
        yield made
        made.store.close()


class Keyed:
    """A server with keys, and its file."""

    def __init__(self, running: Server, store: KeyStore) -> None:
        self.server, self.store = running, store

    def ask(self, text: str | None, **more: Any) -> Any:
        with self.server.client(text) as client:
            return client.post(CHAT, json=chat(**more))


def test_without_a_key_nothing_is_answered(keyed: Keyed) -> None:
    for header in (None, "hc-", "hc-aaaaaaaa-" + "A" * 43):
        response = keyed.ask(header)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
    with keyed.server.client() as client:
        for path in ("/v1/models", "/metrics"):
            assert client.get(path).status_code == 401
        for path in ("/health", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_usage_is_kept_for_each_key(keyed: Keyed) -> None:
    key, text = keyed.store.create("Ada")
    found = keyed.ask(text, max_tokens=5, n=2, temperature=1).json()["usage"]
    with keyed.server.client(text) as client:
        body = chat(stream=True, max_tokens=4)
        with client.stream("POST", CHAT, json=body) as response:
            assert response.read().endswith(b"[DONE]\n\n")
    wait_for(lambda: sum(u.requests for u in keyed.store.usage(key.id)) == 2, "usage")
    (used,) = keyed.store.usage(key.id)
    assert used.prompt_tokens == 2 * found["prompt_tokens"]
    assert used.completion_tokens == found["completion_tokens"] + 4


def test_a_revoked_key_ends_at_once(keyed: Keyed) -> None:
    key, text = keyed.store.create("Ada")
    assert keyed.ask(text).status_code == 200
    keyed.store.revoke(key.id)
    assert keyed.ask(text).status_code == 401


def test_the_limit_of_requests(keyed: Keyed) -> None:
    _, text = keyed.store.create("Ada", limits=Limits(requests=2))
    first = keyed.ask(text)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert keyed.ask(text, stream=True).status_code == 200
    response = keyed.ask(text)
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert 20 <= int(response.headers["retry-after"]) <= 30
    _, other = keyed.store.create("Eve", limits=Limits(requests=2))
    assert keyed.ask(other).status_code == 200


def test_the_limit_of_tokens(keyed: Keyed) -> None:
    _, text = keyed.store.create("Ada", limits=Limits(tokens=30))
    assert keyed.ask(text, max_tokens=40).status_code == 200

    def refused() -> bool:
        response = keyed.ask(text)
        return response.status_code == 429 and int(response.headers["retry-after"]) > 1

    wait_for(refused, "refusal once the answer is paid")


def test_access_is_asked_for_over_http(keyed: Keyed, tiny_server: Server) -> None:
    body = {"name": "Eve", "email": "eve@example.org", "purpose": "to listen"}
    with keyed.server.client() as client:
        response = client.post("/access/requests", json=body)
        assert response.status_code == 202
        assert keyed.store.asked()[-1].id == response.json()["id"]
        for wrong in ({**body, "email": "no address"}, {**body, "name": ""}, {"name": "x"}):
            assert client.post("/access/requests", json=wrong).status_code == 400
    with tiny_server.client() as client:
        assert client.post("/access/requests", json=body).status_code == 404


def test_beyond_this_machine_keys_are_asked_for(
    tiny_image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ["--keys-file", str(tmp_path / "keys.sqlite3")]
    assert cli.main(["serve", str(tiny_image), "--host", "0.0.0.0", "--port", "0", *file]) == 2
    assert "keys create" in capsys.readouterr().err
    said(["keys", "create", "Ada", *file], capsys)
    for options, status in [([], 401), (["--no-keys"], 200)]:
        beyond = ["--host", "0.0.0.0", "--threads", "1", *file, *options]
        with server(tiny_image, *beyond) as running, running.client() as client:
            assert client.get("/v1/models").status_code == status


def test_the_hash_is_of_full_length(store: KeyStore) -> None:
    store.create("Ada")
    rows = sqlite3.connect(store.path).execute("SELECT hash FROM keys").fetchall()
    assert [len(row[0]) for row in rows] == [32]
