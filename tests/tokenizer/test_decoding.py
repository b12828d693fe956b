"""Tokens to text as transformers has it: every decoder, and where transformers is at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, spec_from_source
from hardcast.tokenizer.decoding import decoding_of
from tests.tokenizer import hf_folder
from tests.tokenizer.test_hf_folder import both

pytest.importorskip("transformers", reason="transformers is not installed: the reference extra")

PIECES = ("▁", "▁▁", "▁hello", "hello", "▁▁▁a", "a", "é", "▁漢", "<0x41>", "x<0x41>")


def sentencepiece(decoder: dict[str, Any], pre: dict[str, Any] | None = None) -> dict[str, Any]:
    tokens = ["<unk>", "<s>", "</s>", *PIECES]
    return {
        **hf_folder.tokenizer_json(),
        "added_tokens": [hf_folder.added(i, token) for i, token in enumerate(tokens[:3])],
        "pre_tokenizer": pre,
        "decoder": decoder,
        "model": {
            **hf_folder.tokenizer_json()["model"],
            "unk_token": "<unk>",
            "byte_fallback": True,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [],
        },
    }


def metaspace(**options: Any) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "split": False, **options}


FALLBACK, FUSE = {"type": "ByteFallback"}, {"type": "Fuse"}
REPLACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
DECODERS = [
    *(metaspace(prepend_scheme=scheme) for scheme in ("never", "first", "always")),
    metaspace(prepend_scheme="never", replacement="a"),
    metaspace(),
    {**metaspace(), "add_prefix_space": True},
    {**metaspace(prepend_scheme="never"), "add_prefix_space": False},
    {"type": "Sequence", "decoders": [FALLBACK, metaspace(prepend_scheme="never")]},
    {"type": "Sequence", "decoders": [FALLBACK, metaspace(prepend_scheme="first")]},
    {"type": "Sequence", "decoders": [REPLACE, FALLBACK, FUSE, STRIP]},
    {"type": "Sequence", "decoders": [REPLACE, FALLBACK, FUSE]},
    {"type": "Sequence", "decoders": [REPLACE, FALLBACK, FUSE, {**STRIP, "start": 0}]},
]


@pytest.mark.parametrize("decoder", DECODERS, ids=str)
def test_sentencepiece_decoders(tmp_path: Path, decoder: dict[str, Any]) -> None:
    files = {
        "config.json": {"model_type": "llama"},
        "tokenizer.json": sentencepiece(decoder),
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
    }
    ours, theirs = both(tmp_path, files)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.integers(0, len(PIECES) + 2), max_size=5), st.booleans())
    def check(ids: list[int], skip: bool) -> None:
        assert ours.decode(ids, skip) == theirs.decode(ids, skip_special_tokens=skip)

    check()


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        {"type": "Fuse"},
        {"type": "BPEDecoder", "suffix": "</w>"},
        {"type": "Sequence", "decoders": [FALLBACK, STRIP]},  # would strip every token
        {"type": "Sequence", "decoders": [FALLBACK, FUSE, {**STRIP, "stop": 1}]},
        {"type": "Sequence", "decoders": [{"type": "ByteLevel"}, FUSE, STRIP]},
        {
            "type": "Sequence",
            "decoders": [FALLBACK, {"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}],
        },
    ],
    ids=str,
)
def test_other_decoders_are_refused(decoder: Any) -> None:
    with pytest.raises(HardcastError, match="is not supported; supported are byte-level BPE"):
        decoding_of(decoder)


@pytest.mark.parametrize("special", [False, True])
def test_an_added_token_is_plain_text(tmp_path: Path, special: bool) -> None:
    """Its accents are letters of the alphabet that spells bytes, and transformers reads them so.

    huggingface/tokenizers#1392, #1996: there `naïve` becomes `na\\ufffdve`.
    """
    words = ("naïve", "čaj", "Ġx", "¿qué?", "漢", "plain")
    definition = hf_folder.tokenizer_json()
    definition["added_tokens"] += [
        hf_folder.added(hf_folder.FIRST + 4 + index, word, special=special)
        for index, word in enumerate(words)
    ]
    files = {
        "config.json": {"model_type": "llama"},
        "tokenizer.json": definition,
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
    }
    ours, theirs = both(tmp_path, files)
    text = "hello".join(words)
    ids = ours.encode(text)
    assert ids == theirs.encode(text)
    assert ours.decode(ids, skip_special=False) == text
    assert "�" in theirs.decode(ids)


def test_dropout_of_a_training_run_changes_no_prompt() -> None:
    """Every merge dropped half the time: the same ids all the same, and transformers' without."""
    plain = hf_folder.tokenizer_json()
    dropped = {**plain, "model": {**plain["model"], "dropout": 0.5}}
    specs = [
        spec_from_source({"kind": "hf", "path": "t.json", "tokenizer_json": json.dumps(definition)})
        for definition in (plain, dropped)
    ]
    assert specs[0] == specs[1]
    assert Tokenizer(specs[1]).encode("hello hello") == [259, 260]
