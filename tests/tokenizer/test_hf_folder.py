"""A folder of Hugging Face's tokenizer files means to us what it means to transformers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.checkpoint.hf_tokenizer import hf_tokenizer_source
from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, TokenizerSpec, spec_from_source
from tests.tokenizer import hf_folder
from tests.tokenizer.hf_folder import BEGIN, DEFAULT, END, NEW, PAD, TURN

transformers = pytest.importorskip("transformers", reason="not installed: the reference extra")

TEXTS = st.lists(
    st.sampled_from([BEGIN, END, TURN, PAD, DEFAULT, *NEW, "hello", " ", "  a", "é", "\n"]),
    max_size=6,
).map("".join)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
USER, SYSTEM = {"role": "user", "content": "a"}, {"role": "system", "content": "hello é"}


def both(folder: Path, files: dict[str, Any]) -> tuple[Tokenizer, Any]:
    """Our tokenizer, by way of what an image stores, and AutoTokenizer's."""
    hf_folder.write(folder, files)
    spec = spec_from_source(hf_tokenizer_source(folder, files["config.json"]))
    stored = TokenizerSpec.from_json(spec.to_json())
    assert stored == spec
    return Tokenizer(stored), transformers.AutoTokenizer.from_pretrained(folder)


def rendered(call: Any) -> str | None:
    """A conversation's text; None if there is no template for it."""
    try:
        return str(call())
    except (HardcastError, ValueError):
        return None


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(hf_folder.folders(), st.lists(TEXTS, min_size=3, max_size=3), st.booleans())
def test_drawn_folders(files: dict[str, Any], texts: list[str], generation: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = both(Path(name), files)
    for text in texts:
        plain = ours.encode(text, add_bos=False)
        assert plain == theirs.encode(text, add_special_tokens=False)
        # A text that begins with BOS gets no second one here, which transformers gives it.
        if plain[:1] != [ours.bos_id]:
            assert ours.encode(text) == theirs.encode(text)
        for skip in (False, True):
            assert ours.decode(plain, skip) == theirs.decode(plain, skip_special_tokens=skip)
    for tools in (None, [TOOL]):
        for messages in ([USER], [SYSTEM, USER]):
            mine = rendered(lambda: ours.chat_prompt(messages, generation, tools=tools))  # noqa: B023
            options = {"tools": tools, "add_generation_prompt": generation}
            assert mine == rendered(
                lambda: theirs.apply_chat_template(messages, tokenize=False, **options)  # noqa: B023
            )
            if mine is not None:
                assert ours.encode(mine, add_bos=False) == theirs.apply_chat_template(
                    messages, return_dict=False, **options
                )


def sentencepiece_json(prefix: str, unknown: str | None) -> dict[str, Any]:
    """A vocabulary of Llama 2's kind. prefix: who puts a space before a text."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", *"abcdefghijklmnopqrstuvwxyz<>|\n", "▁▁", "▁a", "he", "▁he", "ll", "llo"]
    normalizer = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": prefix, "split": False}
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    whole = hf_folder.tokenizer_json()
    model = {
        **whole["model"],
        "unk_token": unknown,
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": ["▁ ▁", "▁ a", "h e", "▁ he", "l l", "ll o"],
    }
    pieces = {"type": "Sequence", "normalizers": [prepend, normalizer]}
    return {
        **whole,
        "added_tokens": [hf_folder.added(i, tokens[i]) for i in range(3)],
        "normalizer": pieces if prefix == "Prepend" else None,
        "pre_tokenizer": None if prefix == "Prepend" else metaspace,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }


TURNS = st.lists(
    st.sampled_from(["<s>", "</s>", "<unk>", "hello", " ", "  a", "é", "\n", "<|", "▁"]), max_size=6
).map("".join)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["Prepend", "first", "always", "never"]),
    st.sampled_from([None, "<unk>"]),
    st.sampled_from(["LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"]),
    st.fixed_dictionaries(
        {},
        optional={k: st.sampled_from([None, True, False]) for k in ("legacy", "add_prefix_space")},
    ),
    st.lists(TURNS, min_size=4, max_size=4),
)
def test_llama_makes_its_own_parts(
    prefix: str, unknown: str | None, name: str, flags: dict[str, Any], texts: list[str]
) -> None:
    """What a text after a special token begins with is the class's to say, not the file's."""
    files = {
        "config.json": {"model_type": "llama"},
        "tokenizer.json": sentencepiece_json(prefix, unknown),
        "tokenizer_config.json": {"tokenizer_class": name, "bos_token": "<s>", **flags},
    }
    with tempfile.TemporaryDirectory() as place:
        ours, theirs = both(Path(place), files)
    for text in texts:
        ids = ours.encode(text, add_bos=False)
        assert ids == theirs.encode(text, add_special_tokens=False)


_DIGITS = {"type": "Digits", "individual_digits": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "Qwen2Tokenizer"])
@pytest.mark.parametrize("flag", [None, False, True])
@pytest.mark.parametrize("first", [_DIGITS, hf_folder.QWEN2["pretokenizers"][0]])
def test_cuts_of_another_model(name: str, flag: bool | None, first: dict[str, Any]) -> None:
    """Two classes cut text their own way, whatever tokenizer.json says."""
    cuts = {"type": "Sequence", "pretokenizers": [first, _BYTES]}
    definition = hf_folder.tokenizer_json(pre_tokenizer=cuts)
    definition["model"]["ignore_merges"] = True
    config = {"tokenizer_class": name, "add_prefix_space": flag}
    config["added_tokens_decoder"] = {
        str(token["id"]): {k: v for k, v in token.items() if k != "id"}
        for token in definition["added_tokens"]
    }
    files = {
        "config.json": {"model_type": "llama"},
        "tokenizer.json": definition,
        "tokenizer_config.json": {k: v for k, v in config.items() if v is not None},
    }
    with tempfile.TemporaryDirectory() as place:
        ours, theirs = both(Path(place), files)
    for text in ("x = 12 is", "hello<|turn|>hello  a1 2", "e\u0301 \n\n a", "h he hello"):
        ids = ours.encode(text, add_bos=False)
        assert ids == theirs.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("names", [("eos_token", "pad_token"), ("pad_token", "eos_token")])
def test_a_token_named_twice(names: tuple[str, str]) -> None:
    """It is added twice, and the second one's flags stay."""
    strips = {"content": NEW[0], "lstrip": True, "rstrip": False, "normalized": False}
    files = {
        "config.json": {"model_type": "llama"},
        "tokenizer.json": hf_folder.tokenizer_json(),
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
        "special_tokens_map.json": {names[0]: NEW[0], names[1]: {**strips, "single_word": False}},
    }
    with tempfile.TemporaryDirectory() as place:
        ours, theirs = both(Path(place), files)
    text = f"a  {NEW[0]} a"
    assert ours.encode(text, add_bos=False) == theirs.encode(text, add_special_tokens=False)
