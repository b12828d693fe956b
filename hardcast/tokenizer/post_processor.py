"""What a tokenizer.json puts around a text: BOS before it, sometimes EOS after it."""

from __future__ import annotations

from typing import Any

from hardcast.errors import HardcastError

Around = tuple[tuple[int, ...], tuple[int, ...]]


def around_text(where: str, post_processor: Any) -> Around:
    """Token ids before and after a single text, as transformers puts them there.

    Raises HardcastError naming the file (`where`) for a kind that is not understood.
    """
    if post_processor is None:
        return (), ()
    try:
        return _around(post_processor)
    except (KeyError, TypeError, IndexError, ValueError):
        kind = post_processor.get("type") if isinstance(post_processor, dict) else post_processor
        raise HardcastError(
            f"{where}: post_processor {kind!r:.40} is not understood; supported are "
            f"TemplateProcessing around one text, BertProcessing, RobertaProcessing, ByteLevel"
        ) from None


def _around(part: dict[str, Any]) -> Around:
    kind = part["type"]
    if kind == "ByteLevel":  # trims offsets, adds nothing
        return (), ()
    if kind in ("BertProcessing", "RobertaProcessing"):
        return (int(part["cls"][1]),), (int(part["sep"][1]),)
    if kind == "Sequence":
        before: tuple[int, ...] = ()
        after: tuple[int, ...] = ()
        for inner in part["processors"]:  # each goes around what the last one gave
            left, right = _around(inner)
            before, after = left + before, after + right
        return before, after
    if kind != "TemplateProcessing":
        raise ValueError(kind)
    pieces = part["single"]
    text = [index for index, piece in enumerate(pieces) if "Sequence" in piece]
    if len(text) != 1:
        raise ValueError("one text is expected")
    tokens = [
        tuple(int(i) for i in part["special_tokens"][piece["SpecialToken"]["id"]]["ids"])
        for piece in pieces
        if "Sequence" not in piece
    ]
    return sum(tokens[: text[0]], ()), sum(tokens[text[0] :], ())
