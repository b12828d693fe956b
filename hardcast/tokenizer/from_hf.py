"""A tokenizer from Hugging Face's files: tokenizer.json, and what the files beside it say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.hf_class import class_of, with_prefix_space
from hardcast.tokenizer.hf_tokens import put_together
from hardcast.tokenizer.post_processor import around_text
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.templates import DEFAULT, TOOL_USE, said_anew, templates_of
from hardcast.tokenizer.vocabulary import check_merges


def spec_from_hf(source: dict[str, Any]) -> TokenizerSpec:
    """Builds the spec from the files of checkpoint/hf_tokenizer.py, together as transformers does.

    Raises HardcastError naming the file for what transformers itself would not load, or what the
    executors' text could not be equal to.
    """
    where = str(source["path"])
    config = source.get("tokenizer_config") or {}
    if config.get("split_special_tokens"):
        raise HardcastError(
            f"{Path(where).with_name('tokenizer_config.json')}: split_special_tokens is true, "
            f"which cuts the chat template's own tokens into letters; set it to false"
        )
    whole = json.loads(source["tokenizer_json"])
    definition = _without_training(whole)
    vocab, added = _tokens(where, definition)
    name = class_of(source)
    definition = with_prefix_space(where, definition, name, config.get("add_prefix_space"))
    tokens = put_together(source, vocab, added, name, whole.get("padding"))
    if tokens.added != added:
        definition = {**definition, "added_tokens": tokens.added}
    ids = vocab | {token["content"]: token["id"] for token in tokens.added}
    before, after = around_text(where, definition.get("post_processor"))
    if len(before) > 1:
        raise HardcastError(
            f"{where}: its post_processor puts {len(before)} tokens before a text; one is supported"
        )
    bos_id = before[0] if before else ids.get(tokens.named.get("bos_token", ""))
    if bos_id is None:
        bos_id = next((i for i in _ids(source, "bos_token_id") if i < len(ids)), None)
    eos_ids = _eos_ids(source, ids, tokens.named.get("eos_token"))
    texts: dict[int | None, str] = {index: text for text, index in ids.items()}
    templates = templates_of(source)
    return TokenizerSpec(
        definition=definition,
        bos_id=bos_id,
        eos_ids=eos_ids,
        add_bos=bool(before),
        chat_template=templates.get(DEFAULT, (where, None))[1],
        tool_template=templates.get(TOOL_USE, (where, None))[1],
        named=said_anew(
            tokens.named,
            {
                "bos_token": texts.get(bos_id, ""),
                "eos_token": texts.get(next(iter(eos_ids), None), ""),
            },
            templates,
        ),
        suffix=after,
    )


def _without_training(definition: dict[str, Any]) -> dict[str, Any]:
    """Less what a training run left in the file: transformers lets none of it reach a prompt."""
    changed = {name: None for name in ("truncation", "padding") if definition.get(name)}
    model = definition.get("model")
    if isinstance(model, dict) and model.get("dropout"):
        return {**definition, **changed, "model": {**model, "dropout": None}}
    return {**definition, **changed}


def _tokens(where: str, definition: dict[str, Any]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """The model's vocabulary and the added tokens, checked."""
    try:
        vocab = dict(definition["model"]["vocab"])
        added = list(definition.get("added_tokens") or [])
        ids = vocab | {token["content"]: token["id"] for token in added}
    except (KeyError, TypeError, ValueError):
        raise HardcastError(
            f"{where}: no tokenizer.json of a BPE model (model.vocab is missing)"
        ) from None
    if not all(isinstance(i, int) and isinstance(token, str) for token, i in ids.items()):
        raise HardcastError(f"{where}: model.vocab must map texts to whole numbers")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        # Marks of another kind of BPE, which decoding here would leave in the text.
        if definition["model"].get(name):
            raise HardcastError(f"{where}: model.{name} is not supported")
    merges = definition["model"].get("merges")
    pairs = [m.split(" ") if isinstance(m, str) else m for m in merges or []]
    check_merges(f"{where}: model.merges", vocab, [(p[0], p[1]) for p in pairs if len(p) == 2])
    return vocab, added


def _ids(source: dict[str, Any], name: str) -> list[int]:
    """Token ids under `name` in generation_config.json and config.json: a number or a list."""
    found: list[int] = []
    for part in ("generation_config", "config"):
        value = (source.get(part) or {}).get(name)
        values = value if isinstance(value, list) else [value]
        found += [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
    return found


def _eos_ids(source: dict[str, Any], ids: dict[str, int], eos: str | None) -> tuple[int, ...]:
    known = set(ids.values())
    found = [token for token in _ids(source, "eos_token_id") if token in known]
    if eos in ids:
        found.append(ids[eos])
    return tuple(dict.fromkeys(found))
