"""Token ids to text one at a time, never with half a letter."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardcast.tokenizer.tokenizer import Tokenizer


class TokenStream:
    """Decodes a growing answer. A letter whose bytes span tokens is held until it is whole.

    The texts of all pushes and of the last flush, joined, are the decoded answer. Bytes that can
    become no letter give U+FFFD, the replacement character, as soon as that is certain.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool, continuation: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = tokenizer.strips_first_space and not continuation

    def push(self, token: int) -> str:
        """Text that is certain now: often a word, sometimes nothing."""
        return self._first(
            self._decoder.decode(self._tokenizer.token_bytes(token, self._skip_special))
        )

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
