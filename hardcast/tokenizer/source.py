"""From what a checkpoint says about its tokenizer to what an image stores: picks the reader."""

from __future__ import annotations

from typing import Any

from hardcast.tokenizer.from_gguf import spec_from_gguf
from hardcast.tokenizer.from_hf import spec_from_hf
from hardcast.tokenizer.spec import TokenizerSpec


def spec_from_source(source: dict[str, Any]) -> TokenizerSpec:
    """Builds the spec from Checkpoint.tokenizer_source().

    Raises HardcastError naming the file and what is missing or not supported in it.
    """
    return spec_from_gguf(source) if source["kind"] == "gguf" else spec_from_hf(source)
