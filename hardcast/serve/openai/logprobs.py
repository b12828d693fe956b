"""Logprobs as the two forms of OpenAI's API write them."""

from __future__ import annotations

from collections.abc import Sequence
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


def text_entries(tokens: Sequence[Token], tokenizer: Tokenizer, offset: int) -> dict[str, Any]:
    """`logprobs` of /v1/completions. offset: letters of the text before these tokens."""
    found: dict[str, Any] = {
        "tokens": [],
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }
    for token in tokens:
        text = _text(token.token_id, tokenizer)
        found["tokens"].append(text)
        found["token_logprobs"].append(_finite(token.logprob))
        top: dict[str, float] = {}
        for token_id, logprob in token.top or ():
            top.setdefault(_text(token_id, tokenizer), _finite(logprob))
        found["top_logprobs"].append(top)
        found["text_offset"].append(offset)
        offset += len(text)
    return found


def _text(token_id: int, tokenizer: Tokenizer) -> str:
    return tokenizer.token_bytes(token_id, skip_special=False).decode("utf-8", "replace")


def _finite(logprob: float | None) -> float:
    return LEAST if logprob is None else max(logprob, LEAST)
