"""A tokenizer from Hugging Face's files: tokenizer.json, and what the files beside it say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer.end_tokens import usable_ends
from hardcast.tokenizer.hf_class import as_class, class_of
from hardcast.tokenizer.hf_definition import read_definition, tokens_of
from hardcast.tokenizer.hf_tokens import put_together
from hardcast.tokenizer.post_processor import around_text
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.templates import DEFAULT, TOOL_USE, said_anew, templates_of


def spec_from_hf(source: dict[str, Any], rows: int | None = None) -> TokenizerSpec:
    """Builds the spec from the files of checkpoint/hf_tokenizer.py, together as transformers does.

    rows: tokens that the model has, some maybe without a text; None for those with one.
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
    definition, pad = read_definition(where, source["tokenizer_json"])
    vocab, added = tokens_of(where, definition)
    name = class_of(source)
    definition, notes = as_class(where, definition, name, config)
    tokens = put_together(source, vocab, added, name, pad)
    if tokens.added != added:
        definition = {**definition, "added_tokens": tokens.added}
    ids = vocab | {token["content"]: token["id"] for token in tokens.added}
    before, after = around_text(where, definition.get("post_processor"))
    if len(before) > 1:
        raise HardcastError(
            f"{where}: its post_processor puts {len(before)} tokens before a text; one is supported"
        )
    texts: dict[int | None, str] = {index: text for text, index in ids.items()}
    rows = max(ids.values(), default=-1) + 1 if rows is None else rows
    begins = _ids(source, "bos_token_id", rows, notes)
    bos_id = before[0] if before else ids.get(tokens.named.get("bos_token", ""))
    if bos_id is None:
        bos_id = next((i for i in begins if i in texts), None)
    ends = _ids(source, "eos_token_id", rows, notes)  # some maybe without a text
    eos = tokens.named.get("eos_token", "")
    if eos in ids:
        ends.append(ids[eos])
    eos_ids = usable_ends(where, ends, rows, notes)
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
        notes=tuple(notes),
    )


def _ids(source: dict[str, Any], name: str, rows: int, notes: list[str]) -> list[int]:
    """Token ids under `name` in generation_config.json and config.json: a number or a list.

    rows: tokens that there are. What is none of them is left out, with a note.
    """
    found: list[int] = []
    for part in ("generation_config", "config"):
        value = (source.get(part) or {}).get(name)
        for token in value if isinstance(value, list) else [value]:
            if type(token) is int and 0 <= token < rows:
                found.append(token)
            elif token is not None:
                file = Path(source["path"]).with_name(f"{part}.json")
                notes.append(
                    f"{file}: {name} has {token!r:.40}, which is none of the model's {rows} "
                    f"tokens: it is left out"
                )
    return found
