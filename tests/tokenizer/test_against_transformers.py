"""Token ids equal to transformers' own tokenizers, on 2,000 drawn texts for each architecture."""

from __future__ import annotations

from typing import Any

import pytest

from hardcast.checkpoint import open_checkpoint
from hardcast.tokenizer import Tokenizer, spec_from_source
from tests import real_model
from tests.tokenizer import parity
from tests.tokenizer.test_byte_level_tokenizer import metadata
from tests.tokenizer.test_sentencepiece_tokenizer import vocabulary

pytest.importorskip("transformers", reason="transformers is not installed: the reference extra")


def sentencepiece_metadata() -> dict[str, Any]:
    tokens, scores, types = vocabulary()
    values = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": types}
    return {f"tokenizer.ggml.{k}": v for k, v in {**values, "eos_token_id": 2}.items()}


def differences(metadata: dict[str, Any], texts: list[str]) -> list[str]:
    """Texts that we and transformers encode to other ids."""
    source = {"kind": "gguf", "path": "m.gguf", "metadata": metadata}
    ours = Tokenizer(spec_from_source(source))
    theirs = parity.transformers_tokenizer(metadata)
    return [
        text
        for text in texts
        if ours.encode(text, add_bos=False) != theirs.encode(text, add_special_tokens=False)
    ]


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "starcoder", "qwen2", "llama-bpe"])
def test_byte_level(pre: str) -> None:
    assert differences(metadata(pre), list(parity.texts())) == []


def test_sentencepiece() -> None:
    """Their class leaves out the space before a text that begins with one; see docs."""
    texts = [text for text in parity.texts() if not text.startswith((" ", "▁"))]
    assert len(texts) > 1500
    assert differences(sentencepiece_metadata(), texts) == []


def test_the_real_vocabulary_of_smollm2() -> None:
    source = open_checkpoint(real_model.smollm2()).tokenizer_source()
    assert differences(source["metadata"], list(parity.texts())) == []
