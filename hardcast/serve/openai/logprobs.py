"""Logprobs as the two forms of OpenAI's API write them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import count
from typing import Any

from hardcast.serve.scheduling.request import Token
from hardcast.tokenizer import Tokenizer

LEAST = -9999.0  # what JSON can say of minus infinity, as OpenAI's API does


def chat_entry(token: Token, tokenizer: Tokenizer) -> dict[str, Any]:
    """A token of `logprobs.content`."""
    return {
        **_entry(token.token_id, token.logprob, tokenizer),
        "top_logprobs": [_entry(i, logprob, tokenizer) for i, logprob in token.top or ()],
    }


def _entry(token_id: int, logprob: float | None, tokenizer: Tokenizer) -> dict[str, Any]:
    raw = tokenizer.token_bytes(token_id, skip_special=False)
    text = raw.decode("utf-8", "replace")
    return {"token": text, "logprob": _finite(logprob), "bytes": list(raw)}


class TextLogprobs:
    """`logprobs` of one text of /v1/completions, part by part in its order.

    offset: letters of the text before it. continuation, spoken: as the text itself was decoded;
    spoken: with the text of special tokens.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        offset: int = 0,
        continuation: bool = False,
        spoken: bool = False,
    ) -> None:
        self._tokenizer, self.offset, self._spoken = tokenizer, offset, spoken
        self._stream = tokenizer.stream(not spoken, continuation)

    def part(self, tokens: Sequence[Token]) -> dict[str, Any]:
        """The entries of its next tokens; null for a token that nothing comes before.

        A token is named in its dictionary as in the list of tokens, and is always in it: beside
        the likeliest where it is none of them. An offset is where a token's letter begins, be it
        a later part of that letter.
        """
        found: dict[str, Any] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for token in tokens:
            name, top = token_name(token.token_id, self._tokenizer), None
            if token.logprob is not None:
                top = self._dictionary(name, token)
            found["tokens"].append(name)
            found["token_logprobs"].append(None if top is None else top[name])
            found["top_logprobs"].append(top)
            broken = self._breaks(token.token_id)
            found["text_offset"].append(self.offset + broken)
            self.offset += len(self._stream.push(token.token_id))
        return found

    def _breaks(self, token_id: int) -> bool:
        """Whether a letter that has begun ends as U+FFFD before this token."""
        held = self._stream.held
        more = self._tokenizer.token_bytes(token_id, not self._spoken)
        if not held or not more:
            return False
        text, real = held + more, "\N{REPLACEMENT CHARACTER}"
        found = codecs.getincrementaldecoder("utf-8")("replace").decode(text)
        return found[:1] == real and not text.startswith(real.encode())

    def _dictionary(self, name: str, token: Token) -> dict[str, float]:
        """Every alternative under a name of its own; the token's is `name`."""
        names, ids = {token.token_id: name}, [token_id for token_id, _ in token.top or ()]
        for token_id in ids:
            if token_id not in names:
                text, taken = token_name(token_id, self._tokenizer), names.values()
                # Of equal texts (a special token and letters that spell it) the others go by id.
                others = (f"token_id:{token_id}" + " " * n for n in count())
                names[token_id] = (
                    text
                    if text not in taken
                    else next(other for other in others if other not in taken)
                )
        top = {names[token_id]: _finite(logprob) for token_id, logprob in token.top or ()}
        return top | {name: _finite(token.logprob)}


def token_name(token_id: int, tokenizer: Tokenizer) -> str:
    """A token's text; of one that is part of a letter its bytes, as OpenAI's API writes them."""
    raw = tokenizer.token_bytes(token_id, skip_special=False)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        letters = (chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in raw)
        return "bytes:" + "".join(letters)


def _finite(logprob: float | None) -> float:
    return LEAST if logprob is None else max(logprob, LEAST)
