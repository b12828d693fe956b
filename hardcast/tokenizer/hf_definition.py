"""tokenizer.json by itself, read and checked: what the other files here may rely on."""

from __future__ import annotations

from typing import Any

from hardcast.checkpoint.base import json_object
from hardcast.errors import HardcastError
from hardcast.tokenizer.vocabulary import check_merges

ID_LIMIT = 1 << 32  # `tokenizers` keeps an id in 32 bits


def read_definition(where: str, text: str) -> tuple[dict[str, Any], str | None]:
    """The object in the file less what a training run left in it, and its padding's token.

    transformers lets none of truncation, padding and dropout reach a prompt, but names a pad_token
    after the padding where nothing else does.
    Raises HardcastError naming the file (`where`) for what is no tokenizer.json of a BPE.
    """
    definition = json_object(text.encode(), where)
    padding = definition.get("padding")
    pad = padding.get("pad_token") if isinstance(padding, dict) else None
    if not isinstance(pad, str | None):
        raise HardcastError(f"{where}: padding.pad_token is {pad!r:.60}, expected a text")
    left = {name: None for name in ("truncation", "padding") if definition.get(name)}
    model = definition.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise HardcastError(f"{where}: no tokenizer.json of a BPE model (model.vocab is missing)")
    if model.get("type", "BPE") != "BPE":
        raise HardcastError(f"{where}: model.type is {model['type']!r:.40}; BPE is supported")
    if model.get("dropout"):
        return {**definition, **left, "model": {**model, "dropout": None}}, pad
    return {**definition, **left}, pad


def tokens_of(
    where: str, definition: dict[str, Any]
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """The model's vocabulary (text -> id) and the added tokens of a definition, checked.

    Raises HardcastError for ids, tokens or merges that are none, or a merge of what is no token.
    """
    model, vocab = definition["model"], definition["model"]["vocab"]
    if not all(map(_is_id, vocab.values())):
        raise HardcastError(f"{where}: model.vocab must map texts to whole numbers")
    added = definition.get("added_tokens") or []
    if not isinstance(added, list) or not all(map(_is_token, added)):
        raise HardcastError(f"{where}: added_tokens is no list of tokens with content and id")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        # Marks of another kind of BPE, which decoding here would leave in the text.
        if model.get(name):
            raise HardcastError(f"{where}: model.{name} is not supported")
    merges = model.get("merges") or []
    if not isinstance(merges, list):
        raise HardcastError(f"{where}: model.merges is no list")
    check_merges(f"{where}: model.merges", vocab, [_pair(where, merge) for merge in merges])
    return vocab, added


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < ID_LIMIT


def _is_token(value: Any) -> bool:
    known = isinstance(value, dict) and isinstance(value.get("content"), str)
    return known and _is_id(value.get("id"))


def _pair(where: str, merge: Any) -> tuple[str, str]:
    """A merge in either spelling: "a b" or ["a", "b"]."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if isinstance(parts, list) and len(parts) == 2 and all(isinstance(p, str) for p in parts):
        return parts[0], parts[1]
    raise HardcastError(f"{where}: model.merges has {merge!r:.60}, expected two parts")
