"""Packed bodies: what was packed comes out, whatever the parts, and never more than the bound."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.serve.errors import ApiError
from hardcast.serve.http.body import MOST_BYTES
from hardcast.serve.http.encoding import body_of
from hardcast.serve.openai import replies
from tests.serve.served import Server, chat

CHAT = "/v1/chat/completions"


def read(encoding: str, sent: bytes, limit: int = 1000, size: int = 1 << 20) -> bytes:
    body = body_of(encoding, limit)
    for first in range(0, len(sent), size):
        body.push(sent[first : first + size])
    return body.end()


@given(
    members=st.lists(st.binary(max_size=300), min_size=1, max_size=3),
    size=st.integers(1, 200),
    level=st.integers(0, 9),
)
def test_what_was_packed_comes_out(members: list[bytes], size: int, level: int) -> None:
    whole = b"".join(members)
    packed = b"".join(gzip.compress(member, level) for member in members)
    for name in ("gzip", "GZip", " x-gzip "):
        assert read(name, packed, size=size) == whole
    for name in ("", "identity"):
        assert read(name, packed, limit=4000, size=size) == packed
    # One byte less is too little.
    if whole:
        assert read("gzip", packed, len(whole), size) == whole
        with pytest.raises(ApiError) as caught:
            read("gzip", packed, len(whole) - 1, size)
        assert caught.value.status == 413


@given(data=st.binary(min_size=20, max_size=200), cut=st.integers(1, 400), at=st.integers(0, 400))
def test_what_is_broken_is_refused(data: bytes, cut: int, at: int) -> None:
    packed = gzip.compress(data)
    changed = bytearray(packed)
    changed[10 + at % (len(packed) - 10)] ^= 0xFF  # beyond the header, some of which is free
    for broken in (packed[: -min(cut, len(packed))], bytes(changed), data, packed + b"more"):
        with pytest.raises(ApiError) as caught:
            read("gzip", broken)
        assert caught.value.status in (400, 413)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(512)) + packer.flush()
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    with pytest.raises(ApiError) as caught:
        read("gzip", bomb, MOST_BYTES, 4096)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 4 * MOST_BYTES


def test_a_body_of_nothing_but_members_is_refused() -> None:
    with pytest.raises(ApiError) as caught:
        read("gzip", gzip.compress(b"") * 2000)
    assert caught.value.status == 400


def test_a_packed_request_is_answered(tiny_server: Server) -> None:
    body = json.dumps(chat()).encode()
    kind = {"Content-Type": "application/json"}
    with tiny_server.client() as client:
        plain = client.post(CHAT, json=chat()).json()["choices"]
        for encoding, sent in (
            ("gzip", gzip.compress(body)),
            ("identity", body),
        ):
            headers = {**kind, "Content-Encoding": encoding}
            assert client.post(CHAT, content=sent, headers=headers).json()["choices"] == plain
        # A large prompt in a small body is counted by what it holds.
        bomb = gzip.compress(json.dumps(chat("x" * (17 << 20))).encode())
        for encoding, sent, status in (
            ("gzip", body, 400),
            ("gzip", gzip.compress(body)[:-9], 400),
            ("gzip", b"", 400),
            ("gzip", bomb, 413),
            ("deflate", zlib.compress(body), 415),
            ("br", body, 415),
            ("gzip, gzip", gzip.compress(gzip.compress(body)), 415),
        ):
            headers = {**kind, "Content-Encoding": encoding}
            response = client.post(CHAT, content=sent, headers=headers)
            assert response.status_code == status, encoding
            replies.Error.model_validate(response.json())
            assert ("gzip" in response.headers.get("accept-encoding", "")) == (status == 415)
