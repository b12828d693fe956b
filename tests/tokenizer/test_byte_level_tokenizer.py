"""Byte-level BPE: the right cuts, exact round trips, special tokens, streaming."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.checkpoint import open_checkpoint
from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, TokenizerSpec, spec_from_source
from hardcast.tokenizer.byte_level import PRE_TOKENIZERS
from tests import real_model, tiny_vocabulary

SPACE, NEWLINE = "Ġ", "Ċ"  # GPT-2's letters for them
TEXTS = [
    "",
    " ",
    "hello world",
    "What is 12345 + 67,890.5? It's ½ of ² and Ⅷ and ٣.",
    "  two spaces,\ttabs\t\tand\r\nlines \n\n\n end  ",
    "naïve café, straße, Ελληνικά, русский, हिन्दी, ไทย, 日本語, 한국어",
    "🙂👩‍👩‍👧‍👦🇫🇷 é (combining) \u200b zero width",
    "def f(x: int) -> str:\n    return f'{x:>8}'  # comment\n",
    "\x00\x01\x7f\ufffd\U0010ffff",
    "don't I'LL we'Ve O'Reilly's 'tis",
]


def metadata(pre: str = "smollm", **changes: Any) -> dict[str, Any]:
    """GGUF tokenizer metadata of the tiny vocabulary; None takes an entry out."""
    tokens, merges = tiny_vocabulary.vocabulary(1009)
    count = len(tiny_vocabulary.SPECIALS)
    values = {
        "model": "gpt2",
        "pre": pre,
        "tokens": list(tokens),
        "token_type": [3] * count + [1] * (len(tokens) - count),
        "merges": [" ".join(pair) for pair in merges],
        "bos_token_id": 1,
        "eos_token_id": 2,
        **changes,
    }
    return {f"tokenizer.ggml.{k}": v for k, v in values.items() if v is not None}


def spec(pre: str = "smollm", **changes: Any) -> TokenizerSpec:
    source = {"kind": "gguf", "path": "m.gguf", "metadata": metadata(pre, **changes)}
    return spec_from_source(source)


@lru_cache(maxsize=16)
def tiny_tokenizer(pre: str = "smollm") -> Tokenizer:
    return Tokenizer(spec(pre))


def cuts(pre: str, text: str) -> list[str]:
    """The words that a pre-tokenizer makes, in GPT-2's letters."""
    backend = tokenizers.Tokenizer.from_str(json.dumps(spec(pre).definition))
    text = backend.normalizer.normalize_str(text) if backend.normalizer else text
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    "pre, wanted",
    [
        ("gpt-2", ["It", "'s", "Ġ12345", "Ġ", "Ġok", "!!", "ĊĊ", "ĠI", "'", "LL"]),
        ("smollm", ["It", "'s", "Ġ", *"12345", "Ġ", "Ġok", "!!", "ĊĊ", "ĠI", "'", "LL"]),
        ("llama-bpe", ["It", "'s", "Ġ", "123", "45", "Ġ", "Ġok", "!!ĊĊ", "ĠI", "'LL"]),
        ("qwen2", ["It", "'s", "Ġ", *"12345", "Ġ", "Ġok", "!!ĊĊ", "ĠI", "'LL"]),
        ("default", ["It", "'", "s", "Ġ", "123", "45", "Ġ", "Ġok", "!!", "ĊĊ", "ĠI", "'", "LL"]),
    ],
)
def test_cuts(pre: str, wanted: list[str]) -> None:
    assert cuts(pre, "It's 12345  ok!!\n\n I'LL") == wanted


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_cuts_equal_the_packages_own_parts(text: str) -> None:
    """gpt-2 and smollm are also parts of `tokenizers`; llama3's expression is its model's own."""
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = tokenizers.pre_tokenizers.Digits(individual_digits=True)
    smollm = tokenizers.pre_tokenizers.Sequence([digits, byte_level])
    assert cuts("gpt-2", text) == [word for word, _ in byte_level.pre_tokenize_str(text)]
    assert cuts("smollm", text) == [word for word, _ in smollm.pre_tokenize_str(text)]


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(pre: str, text: str) -> None:
    tokenizer = tiny_tokenizer(pre)
    if PRE_TOKENIZERS[pre].nfc:
        text = tokenizers.normalizers.NFC().normalize_str(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_gguf_and_tokenizer_json_agree(tmp_path: Path) -> None:
    hf = Tokenizer(
        spec_from_source(
            {
                "kind": "hf",
                "path": "tokenizer.json",
                "tokenizer_json": tiny_vocabulary.tokenizer_json(1009),
                "tokenizer_config": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
            }
        )
    )
    ours = tiny_tokenizer()
    for text in [*TEXTS, tiny_vocabulary.TEXT, "<|im_start|>user\nhi<|im_end|>\n"]:
        assert hf.encode(text) == ours.encode(text)
    assert (hf.bos_id, hf.vocab_size) == (ours.bos_id, ours.vocab_size) == (1, 1009)
    assert hf.eos_ids == (2,)


def test_merges_are_used_in_order() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("The capital of France is Paris.")
    assert len(ids) < 15  # the vocabulary was learned from this very sentence
    # A word whose merges compete: by rank, not from left to right.
    tokens = ["a", "b", "c", "ab", "bc", "abc"]
    merges = ["b c", "a b", "a bc"]
    small = Tokenizer(
        spec("gpt-2", tokens=tokens, token_type=None, merges=merges, bos_token_id=None)
    )
    assert small.encode("abc") == [5]
    assert small.encode("ab") == [3]


def test_llama3_takes_a_whole_word_first() -> None:
    """ignore_merges: a word in the vocabulary is one token though no merges lead to it."""
    tokens = ["<s>", "</s>", "w", "x", "wx"]
    changes = {"tokens": tokens, "token_type": [3, 3, 1, 1, 1], "merges": []}
    ids = {"bos_token_id": 0, "eos_token_id": 1}
    assert Tokenizer(spec("llama-bpe", **changes, **ids)).encode("wx") == [0, 4]
    assert Tokenizer(spec("gpt-2", **changes, **ids)).encode("wx") == [2, 3]


def test_special_tokens() -> None:
    tokenizer = tiny_tokenizer()
    text = "<|im_start|>user"
    ids = tokenizer.encode(text)
    assert ids[0] == 1
    plain = tokenizer.encode(text, special=False)
    assert not set(plain) & {0, 1, 2}
    assert tokenizer.decode(plain) == text
    assert tokenizer.decode(ids) == "user"
    assert tokenizer.decode(ids, skip_special=False) == text
    assert tokenizer.encode(text) == ids  # the plain backend has not changed the other


def test_user_defined_tokens_are_text() -> None:
    tokens, _ = tiny_vocabulary.vocabulary(1009)
    types = [3, 3, 3, *[1] * (len(tokens) - 4), 4]
    tokenizer = Tokenizer(spec(tokens=[*tokens[:-1], "<tool x>"], token_type=types))
    ids = tokenizer.encode("a<tool x>b")
    assert ids[1] == 1008
    assert tokenizer.decode(ids) == "a<tool x>b"


def test_bos_is_added_once() -> None:
    tokenizer = Tokenizer(spec(add_bos_token=True))
    assert tokenizer.encode("x")[0] == 1
    assert tokenizer.encode("<|im_start|>x") == tokenizer.encode("x")
    assert tokenizer.encode("x", add_bos=False) == tokenizer.encode("x")[1:]
    assert tiny_tokenizer().encode("x")[0] != 1
    assert tiny_tokenizer().encode("x", add_bos=True)[0] == 1
    assert tiny_tokenizer("llama-bpe").encode("x")[0] == 1  # the kind's habit


def test_end_tokens() -> None:
    assert tiny_tokenizer().eos_ids == (2, 0)  # the file's, then <|endoftext|> by its name
    assert spec(eot_token_id=1).eos_ids == (2, 1, 0)
    assert spec(eos_token_id=None).eos_ids == (0, 2)


def test_ids_that_no_token_has() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("ab")
    assert tokenizer.decode([ids[0], 5000, -1, 1 << 40, *ids[1:]]) == "ab"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_streamed_text_is_whole_letters(text: str) -> None:
    tokenizer = tiny_tokenizer()
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in tokenizer.encode(text, special=False)]
    assert stream.flush() == ""
    assert "".join(pieces) == text
    # Each piece is valid on its own: nothing is half a letter, nothing was replaced.
    assert "".join(pieces).count("\ufffd") == text.count("\ufffd")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=30))
def test_streamed_tokens_of_any_bytes(ids: list[int]) -> None:
    """Any ids at all: the pieces join to what UTF-8 with replacement makes of all the bytes."""
    tokenizer = tiny_tokenizer()
    stream = tokenizer.stream(skip_special=False)
    joined = "".join([stream.push(token) for token in ids]) + stream.flush()
    raw = b"".join(tokenizer.token_bytes(token, skip_special=False) for token in ids)
    assert joined == raw.decode("utf-8", "replace")
    assert tokenizer.decode(ids, skip_special=False) == joined


def test_half_a_letter_is_held_then_replaced() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode("🙂")
    assert len(ids) == 4
    stream = tokenizer.stream()
    assert [stream.push(token) for token in ids] == ["", "", "", "🙂"]
    assert [stream.push(token) for token in ids[:3]] == ["", "", ""]
    assert stream.flush() == "\ufffd"
    assert stream.push(ids[0]) == ""  # usable again, nothing left over
    assert stream.push(tokenizer.encode("a")[0]) == "\ufffda"


def test_spec_survives_json() -> None:
    first = spec(add_bos_token=True)
    again = TokenizerSpec.from_json(json.loads(json.dumps(first.to_json())))
    assert again == first
    assert Tokenizer(again).encode(TEXTS[3]) == Tokenizer(first).encode(TEXTS[3])


@pytest.mark.parametrize(
    "change",
    [
        {"format": 3},
        {"format": None},
        {"eos_ids": "x"},
        {"bos_id": "x"},
        {"chat_template": 5},
        {"tool_template": 5},
        {"named": 5},
        {"suffix": 5},
        {"tokenizer": 5},
    ],
)
def test_malformed_json_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HardcastError, match=r"^tokenizer.json: "):
        TokenizerSpec.from_json({**spec().to_json(), **change})
    with pytest.raises(HardcastError, match="malformed"):
        TokenizerSpec.from_json({"format": 1})


@pytest.mark.parametrize(
    "changes, wanted",
    [
        ({"pre": "tekken"}, "'tekken' is not supported; supported are default, gpt-2, smollm"),
        ({"pre": 7}, "pre-tokenizer 7 is not supported"),
        ({"pre": [7]}, "is not supported"),
        ({"model": "bert"}, "'bert' is not supported; supported are gpt2, llama"),
        ({"model": None}, "is not supported"),
        ({"tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"tokens": [1, 2]}, "tokenizer.ggml.tokens is no list of str"),
        ({"token_type": [1]}, "token_type has 1 values for 1009 tokens"),
        ({"merges": ["ab"]}, "merges has 'ab', expected two parts"),
        ({"eos_token_id": 1009}, "eos_token_id is 1009, expected 0 to 1008"),
        ({"bos_token_id": -1}, "bos_token_id is -1"),
        ({"tokens": ["a"] * 1009}, "token 1, 'a', is in the vocabulary twice"),
    ],
)
def test_bad_metadata(changes: dict[str, Any], wanted: str) -> None:
    with pytest.raises(HardcastError) as caught:
        spec(**changes)
    assert wanted in str(caught.value)
    assert str(caught.value).startswith("m.gguf: ")


def test_merge_of_unknown_tokens() -> None:
    with pytest.raises(HardcastError, match=r"merges: 'nope' and 'nope' .* 'nope' is no token"):
        spec(merges=["nope nope"])
    with pytest.raises(HardcastError, match=r"'a' and 'b' make 'ab', but 'ab' is no token; take"):
        spec(tokens=["a", "b"], token_type=None, merges=["a b"], bos_token_id=0, eos_token_id=1)


def test_text_that_is_not_unicode() -> None:
    with pytest.raises(HardcastError, match="not valid Unicode"):
        tiny_tokenizer().encode("a\ud800b")


def test_smollm2() -> None:
    """The real vocabulary: exact round trips, the known length of a chat prompt, its end tokens."""
    source = open_checkpoint(real_model.smollm2()).tokenizer_source()
    tokenizer = Tokenizer(spec_from_source(source))
    assert (tokenizer.vocab_size, tokenizer.bos_id) == (49152, 1)
    assert tokenizer.eos_ids == (2, 0)
    for text in [*TEXTS, tiny_vocabulary.TEXT, Path(__file__).read_text("utf-8")]:
        assert tokenizer.decode(tokenizer.encode(text, special=False)) == text
    # As the model's own tokenizer spells them.
    assert tokenizer.encode("The capital of France is Paris.") == [
        504, 3575, 282, 4649, 314, 7042, 30,
    ]  # fmt: skip
    prompt = tokenizer.chat_prompt([{"role": "user", "content": "What is the capital of France?"}])
    assert prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert prompt.endswith("What is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
    assert len(tokenizer.encode(prompt)) == 37
    stream = tokenizer.stream()
    text = "🙂 naïve 日本語 " * 5
    assert "".join([stream.push(token) for token in tokenizer.encode(text)]) == text
