"""Whether a tokenizer can be used at all, tried before hours of work go into its model."""

from __future__ import annotations

from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.chat_template import TemplateDeclined
from hardcast.tokenizer.tokenizer import Tokenizer

TEXT = "Hello, world: 1 + 1 = 2."
_USER = {"role": "user", "content": "Hello"}
CONVERSATIONS: tuple[list[dict[str, Any]], ...] = (
    [_USER],
    [{"role": "system", "content": "Be short."}, _USER],
    [_USER, {"role": "assistant", "content": "Hello."}, _USER],
)
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}


def check_text(tokenizer: Tokenizer, rows: int) -> None:
    """Encodes a text and decodes it again.

    rows: of the model's embedding. Raises HardcastError if no token comes of it, or one that the
    model does not have.
    """
    ids = tokenizer.encode(TEXT)
    _check_ids(TEXT, ids, rows)
    if not tokenizer.decode(ids):
        raise HardcastError(f"tokenizer: the tokens of {TEXT!r} decode to nothing")


def check_conversation(tokenizer: Tokenizer, rows: int, tools: bool) -> None:
    """Renders short conversations until one succeeds, and encodes it.

    tools: with a tool, by the template for them. A template may refuse them all (it may want a
    variable of its own); what no conversation could mend raises HardcastError.
    """
    extra: dict[str, Any] = {"tools": [TOOL]} if tools else {}
    failures: list[HardcastError] = []
    for messages in CONVERSATIONS:
        try:
            prompt = tokenizer.chat_prompt(messages, **extra)
        except HardcastError as error:
            failures.append(error)
        else:
            _check_ids(prompt, tokenizer.encode(prompt, add_bos=False), rows)
            return
    if not any(isinstance(failure, TemplateDeclined) for failure in failures):
        raise failures[0]


def _check_ids(text: str, ids: list[int], rows: int) -> None:
    if text and not ids:
        raise HardcastError(f"tokenizer: no letter of {text!r:.60} has a token")
    if max(ids, default=0) >= rows:
        raise HardcastError(
            f"tokenizer: {text!r:.60} has the token {max(ids)}, and the model has {rows}"
        )
