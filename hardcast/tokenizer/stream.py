"""Token ids to text one at a time, never with half a letter."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class TokenStream:
    """Decodes a growing answer. A letter whose bytes span tokens is held until it is whole.

    The texts of all pushes and of the last flush, joined, are the decoded answer. Bytes that can
    become no letter give U+FFFD, the replacement character, as soon as that is certain.
    """

    def __init__(self, bytes_of: Callable[[int], bytes], strip: bool) -> None:
        """bytes_of: the bytes that a token stands for. strip: a space that begins the text goes."""
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = strip

    def push(self, token: int) -> str:
        """Text that is certain now: often a word, sometimes nothing."""
        return self._first(self._decoder.decode(self._bytes_of(token)))

    def flush(self) -> str:
        """Ends the text: bytes still held become U+FFFD. The stream may be used again."""
        text = self._first(self._decoder.decode(b"", final=True))
        self._decoder.reset()
        return text

    def _first(self, text: str) -> str:
        if self._strip and text:
            self._strip = False
            return text.removeprefix(" ")
        return text
