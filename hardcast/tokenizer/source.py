"""From what a checkpoint says about its tokenizer to what an image stores, tried before it is."""

from __future__ import annotations

import dataclasses
from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer import probe
from hardcast.tokenizer.from_gguf import spec_from_gguf
from hardcast.tokenizer.from_hf import spec_from_hf
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.templates import TOOL_USE, templates_of
from hardcast.tokenizer.tokenizer import Tokenizer


def spec_from_source(source: dict[str, Any], rows: int | None = None) -> TokenizerSpec:
    """Builds the spec from Checkpoint.tokenizer_source().

    rows: tokens that the model has, some maybe without a text; None for those with one.
    Raises HardcastError naming the file and what is missing or not supported in it.
    """
    reader = spec_from_gguf if source["kind"] == "gguf" else spec_from_hf
    return reader(source, rows)


def usable_tokenizer(source: dict[str, Any], rows: int) -> Tokenizer:
    """The tokenizer as an image would carry it, after a text and conversations went through it.

    rows: tokens that the model has. The spec's notes are kept.
    Raises HardcastError naming the file that makes it unusable.
    """
    spec = spec_from_source(source, rows)
    try:
        stored = TokenizerSpec.from_json(spec.to_json())
        tokenizer = Tokenizer(dataclasses.replace(stored, notes=spec.notes))
        probe.check_text(tokenizer, rows)
    except HardcastError as error:
        raise HardcastError(
            f"{source['path']}: {error}; take the tokenizer that the model came with"
        ) from None
    for name, (file, text) in templates_of(source).items():
        try:
            if text:
                probe.check_conversation(tokenizer, rows, tools=name == TOOL_USE)
        except HardcastError as error:
            said = str(error).rstrip(".")
            raise HardcastError(
                f"{file}: {said}; mend the template, or build without it and give plain prompts"
            ) from None
    return tokenizer
