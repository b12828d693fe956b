"""Bodies that were packed by their sender, unpacked within a bound."""

from __future__ import annotations

import zlib
from typing import Protocol

from hardcast.serve.errors import ApiError, bad_request, too_large

MOST_MEMBERS = 1000  # of a gzip file: empty ones cost time and count for nothing in its size
GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for gzip's header and no other


class Body(Protocol):
    """A body that comes in parts. Both raise ApiError 400, and 413 for more than the limit."""

    def push(self, part: bytes) -> None:
        """Takes a part of what was sent."""

    def end(self) -> bytes:
        """The whole, once everything was sent."""


class Plain:
    """A body as it is. limit: bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._found = limit, bytearray()

    def push(self, part: bytes) -> None:
        """Takes a part."""
        self._found += part
        if len(self._found) > self._limit:
            raise too_large(self._limit)

    def end(self) -> bytes:
        """All parts."""
        return bytes(self._found)


class Gzip:
    """A gzip file of one or more members. Never more than `limit` bytes are unpacked."""

    def __init__(self, limit: int) -> None:
        self._limit, self._found = limit, bytearray()
        self._member, self._members = zlib.decompressobj(GZIP), 0

    def push(self, part: bytes) -> None:
        """Unpacks a part."""
        try:
            while part:
                if self._member.eof or not self._members:
                    self._member = zlib.decompressobj(GZIP)
                    self._members += 1
                if self._members > MOST_MEMBERS:
                    raise bad_request(f"the body has more than {MOST_MEMBERS} gzip members")
                # One byte more than there may be says that there is more.
                self._found += self._member.decompress(part, self._limit + 1 - len(self._found))
                if len(self._found) > self._limit:
                    raise too_large(self._limit)
                part = self._member.unconsumed_tail or self._member.unused_data
        except zlib.error as error:
            raise bad_request(f"the body is not valid gzip: {error}") from None

    def end(self) -> bytes:
        """All that was packed."""
        if not self._member.eof:
            raise bad_request("the body is not valid gzip: it ends too early")
        return bytes(self._found)


def body_of(encoding: str, limit: int) -> Body:
    """How a body is to be read. encoding: the header Content-Encoding, or "". limit: bytes.

    Raises ApiError 415, with the header that says what is taken, for any but gzip.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return Plain(limit)
        case "gzip" | "x-gzip":
            return Gzip(limit)
    raise ApiError(
        415,
        f"Content-Encoding {encoding!r:.60} is not read here: send gzip, or the body as it is",
        "unsupported_media",
        headers={"Accept-Encoding": "gzip, identity"},
    )
