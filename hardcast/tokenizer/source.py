"""From what a checkpoint says about its tokenizer to what an image stores, tried before it is."""

from __future__ import annotations

from typing import Any

from hardcast.errors import HardcastError
from hardcast.tokenizer import probe
from hardcast.tokenizer.from_gguf import spec_from_gguf
from hardcast.tokenizer.from_hf import spec_from_hf
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.templates import TOOL_USE, templates_of
from hardcast.tokenizer.tokenizer import Tokenizer


def spec_from_source(source: dict[str, Any]) -> TokenizerSpec:
    """Builds the spec from Checkpoint.tokenizer_source().

    Raises HardcastError naming the file and what is missing or not supported in it.
    """
    return spec_from_gguf(source) if source["kind"] == "gguf" else spec_from_hf(source)


def usable_tokenizer(source: dict[str, Any], rows: int) -> Tokenizer:
    """The tokenizer as an image would carry it, after a text and conversations went through it.

    rows: tokens that the model has. Raises HardcastError naming the file that makes it unusable.
    """
    spec = spec_from_source(source)
    try:
        tokenizer = Tokenizer(TokenizerSpec.from_json(spec.to_json()))
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
