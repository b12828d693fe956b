"""Token ids to text one at a time, never with half a letter."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class TokenStream:
    """Decodes a growing answer. A letter whose bytes span tokens is held until it is whole.

    The texts of all pushes and of the last flush, joined, are the decoded answer. Bytes that can
    become no letter give U+FFFD, the replacement character, as soon as that is certain.
    """

    def __init__(self, bytes_of: Callable[[int], bytes], strip: int) -> None:
        """bytes_of: the bytes that a token stands for.

        strip: spaces, at most, that the first token with a text loses.
        """
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = strip

    @property
    def held(self) -> bytes:
        """The bytes of a letter that is not whole yet."""
        return self._decoder.getstate()[0]

    def push(self, token: int) -> str:
        """Text that is certain now: often a word, sometimes nothing."""
        data = self._bytes_of(token)
        if self._strip and data:
            spaces = len(data) - len(data.lstrip(b" "))
            data, self._strip = data[min(spaces, self._strip) :], 0
        return self._decoder.decode(data)

    def flush(self) -> str:
        """Ends the text: bytes still held become U+FFFD. The stream may be used again."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text
