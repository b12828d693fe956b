"""tokenizer.json and its neighbours: special tokens, BOS habits, end tokens, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardcast.checkpoint import open_checkpoint
from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, TokenizerSpec, spec_from_source
from tests import tiny, tiny_vocabulary


def spec(definition: dict[str, Any] | None = None, **parts: Any) -> TokenizerSpec:
    """definition: keys of tokenizer.json to replace. parts: the JSON files beside it."""
    values = {**json.loads(tiny_vocabulary.tokenizer_json(1009)), **(definition or {})}
    source = {"kind": "hf", "path": "t.json", "tokenizer_json": json.dumps(values), **parts}
    return spec_from_source(source)


def test_from_a_folder(tmp_path: Path) -> None:
    folder = tiny.write_safetensors(tmp_path, "llama")
    found = spec_from_source(open_checkpoint(folder).tokenizer_source())
    assert (found.bos_id, found.eos_ids, found.add_bos) == (1, (2,), False)
    assert found.chat_template == tiny_vocabulary.CHAT_TEMPLATE
    generation = {"eos_token_id": [2, 0], "bos_token_id": 1}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "chat_template.jinja").write_text("{{ 'own file' }}")
    found = spec_from_source(open_checkpoint(folder).tokenizer_source())
    assert found.eos_ids == (2, 0)
    assert Tokenizer(found).chat_prompt([]) == "own file"
    (folder / "tokenizer.json").unlink()
    with pytest.raises(HardcastError, match=r"tokenizer.json: not found; write one with"):
        open_checkpoint(folder).tokenizer_source()


def test_special_tokens_written_as_objects() -> None:
    config = {"bos_token": {"content": "<|im_start|>"}, "eos_token": {"content": "<|im_end|>"}}
    found = spec(tokenizer_config=config)
    assert (found.bos_id, found.eos_ids) == (1, (2,))
    assert spec(tokenizer_config={}).bos_id is None
    assert spec(config={"eos_token_id": 0}, generation_config={"eos_token_id": [2, 2]}).eos_ids == (
        2,
        0,
    )
    # Ids that the tokenizer does not have are of no use.
    assert spec(config={"eos_token_id": [5000, "x", True, -1], "bos_token_id": 5000}).eos_ids == ()


def test_bos_habit_of_the_post_processor() -> None:
    template = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
        },
    }
    config = {"bos_token": "<|im_start|>"}
    sequence = {"type": "Sequence", "processors": [template]}
    for post in (template, sequence):
        found = spec({"post_processor": post}, tokenizer_config=config)
        assert found.add_bos
        assert Tokenizer(found).encode("hi")[0] == 1
    assert not spec(tokenizer_config=config).add_bos
    # The flag made the post-processor once; where a file has one, transformers reads no flag.
    no = {**config, "add_bos_token": False}
    assert spec({"post_processor": template}, tokenizer_config=no).add_bos
    assert not spec(tokenizer_config={**config, "add_bos_token": True}).add_bos


def test_a_part_that_says_the_same_is_stored_as_it_stands() -> None:
    """An image's digest covers it, and a class that makes the same changes no model."""
    metaspace = {"type": "Metaspace", "prepend_scheme": "first", "replacement": "▁", "split": False}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    space = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    decoders = [space, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]
    llama: dict[str, Any] = {
        "normalizer": None,
        "pre_tokenizer": metaspace,
        "decoder": {"type": "Sequence", "decoders": decoders},
    }
    cut = json.loads(tiny_vocabulary.tokenizer_json(1009))
    for name, parts in (("LlamaTokenizer", llama), ("GPT2Tokenizer", cut)):
        plain = spec(parts, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"})
        made = spec(parts, tokenizer_config={"tokenizer_class": name})
        for key in ("normalizer", "pre_tokenizer", "decoder"):
            assert made.definition[key] == plain.definition[key]


def test_the_digits_of_smollm() -> None:
    """Its class forgets that they are words of their own; the model has learned them so."""
    made = spec(tokenizer_config={"tokenizer_class": "GPT2Tokenizer"})
    assert [note for note in made.notes if "each digit is a word of its own" in note]
    assert made.definition["pre_tokenizer"]["pretokenizers"][0]["type"] == "Digits"


def test_named_templates() -> None:
    templates = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "chat"}]
    assert spec(tokenizer_config={"chat_template": templates}).chat_template == "chat"
    assert spec(tokenizer_config={"chat_template": templates[:1]}).chat_template is None
    with pytest.raises(HardcastError, match="tokenizer_config.json: chat_template is no text"):
        spec(tokenizer_config={"chat_template": 5})


@pytest.mark.parametrize(
    "definition, wanted",
    [
        ({"model": {"type": "BPE"}}, "model.vocab is missing"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "t.json: "),
        ({"model": {"type": "BPE", "vocab": {"a": "x"}}}, "must map texts to whole numbers"),
        (
            {"model": {"type": "BPE", "vocab": {"a": 0}, "continuing_subword_prefix": "##"}},
            "continuing_subword_prefix is not supported",
        ),
        ({"added_tokens": [5]}, "added_tokens is no list of tokens"),
        ({"decoder": None}, r"decoder \[\] is not supported"),
        ({"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}}, "WordPiece"),
        ({"model": {"type": "nonsense", "vocab": {"a": 0}}}, "model.type is 'nonsense'; BPE is"),
        ({"pre_tokenizer": {"type": "nonsense"}}, "its definition cannot be used"),
    ],
)
def test_refused(definition: dict[str, Any], wanted: str) -> None:
    with pytest.raises(HardcastError, match=wanted):
        Tokenizer(spec(definition))


def test_ids_outside_the_vocabulary_are_refused() -> None:
    data = spec().to_json()
    for change in ({"bos_id": 1009}, {"suffix": [1009]}):
        with pytest.raises(HardcastError, match="is outside its 1009"):
            Tokenizer(TokenizerSpec.from_json({**data, **change}))
    with pytest.raises(HardcastError, match="eos_ids has -1, expected 0 or more"):
        Tokenizer(TokenizerSpec.from_json({**data, "eos_ids": [-1]}))


def test_added_token_with_another_id_than_stated() -> None:
    """`tokenizers` would number it by itself, and the model would see another token."""
    values = json.loads(tiny_vocabulary.tokenizer_json(1009))
    values["added_tokens"][2]["id"] = 7
    with pytest.raises(HardcastError, match="has another id than stated"):
        Tokenizer(spec(values))
