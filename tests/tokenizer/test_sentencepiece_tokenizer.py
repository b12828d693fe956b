"""The sentencepiece kind: merges by score as sentencepiece makes them, bytes, spaces."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, TokenizerSpec, spec_from_source
from tests import tiny_vocabulary

LETTERS = "abcdefghijklmnopqrstuvwxyzATWP.,?▁"


@lru_cache(maxsize=1)
def vocabulary() -> tuple[list[str], list[float], list[int]]:
    """(tokens, scores, types) as in a Llama 2 file: specials, bytes, letters, pieces by score."""
    tokens = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]]
    types = [2, 3, 3, *[6] * 256]
    _, merges = tiny_vocabulary.vocabulary(1009)
    pieces = [("".join(pair)).replace("Ġ", "▁") for pair in merges]
    pieces = [piece for piece in dict.fromkeys(pieces) if set(piece) <= set(LETTERS)]
    scores = [0.0] * len(tokens) + [-float(index) for index in range(len(pieces))]
    tokens += pieces + list(LETTERS)
    scores += [-1000.0 - index for index in range(len(LETTERS))]
    types += [1] * (len(tokens) - len(types))
    return tokens, scores, types


def spec(**changes: Any) -> TokenizerSpec:
    tokens, scores, types = vocabulary()
    values = {
        "model": "llama",
        "tokens": tokens,
        "scores": scores,
        "token_type": types,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **changes,
    }
    metadata = {f"tokenizer.ggml.{k}": v for k, v in values.items() if v is not None}
    return spec_from_source({"kind": "gguf", "path": "m.gguf", "metadata": metadata})


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    return Tokenizer(spec())


def reference(text: str) -> list[int]:
    """sentencepiece's algorithm as it is written: merge the best pair, the leftmost of equals."""
    tokens, scores, _ = vocabulary()
    ids = {token: index for index, token in enumerate(tokens)}
    parts = list(("▁" + text).replace(" ", "▁"))
    while True:
        pairs = [
            (-scores[ids[left + right]], index)
            for index, (left, right) in enumerate(zip(parts, parts[1:], strict=False))
            if left + right in ids
        ]
        if not pairs:
            break
        _, index = min(pairs)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    found: list[int] = []
    for part in parts:
        if part in ids:
            found.append(ids[part])
        else:
            found += [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
    return found


WORDS = [word for word in tiny_vocabulary.TEXT.split() if word.isascii()]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "", "é", "🙂", "zzxq", "the"]), min_size=1, max_size=8))
def test_encodes_as_sentencepiece_does(words: list[str]) -> None:
    text = " ".join(words)
    if text:
        assert tokenizer().encode(text, add_bos=False) == reference(text)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30))
def test_round_trip_and_stream(text: str) -> None:
    # ▁ is a space to sentencepiece: that letter alone does not come back.
    text = text.replace("▁", "_")
    ids = tokenizer().encode(text, special=False)
    assert tokenizer().decode(ids) == text
    stream = tokenizer().stream()
    assert "".join([stream.push(token) for token in ids]) + stream.flush() == text


def test_bytes_stand_in_for_unknown_letters() -> None:
    ids = tokenizer().encode("🙂", add_bos=False)
    assert ids[1:] == [3 + byte for byte in "🙂".encode()]
    stream = tokenizer().stream()
    assert [stream.push(token) for token in ids] == ["", "", "", "", "🙂"]


def test_bos_and_prefix_space() -> None:
    ids = tokenizer().encode("the fox")
    assert ids[0] == 1  # Llama 2 files begin a text with BOS
    assert tokenizer().decode(ids) == "the fox"
    assert tokenizer().decode(ids, continuation=True) == " the fox"
    bare = Tokenizer(spec(add_space_prefix=False, add_bos_token=False))
    assert bare.encode("the fox")[0] != 1
    assert bare.decode(bare.encode(" the fox")) == " the fox"
    assert bare.encode("the fox") != bare.encode(" the fox")


def test_special_tokens_are_not_spelled() -> None:
    ids = tokenizer().encode("the</s>")
    assert ids[-1] == 2
    assert tokenizer().decode(ids) == "the"
    assert tokenizer().decode(ids, skip_special=False).endswith("the</s>")
    assert 2 not in tokenizer().encode("the</s>", special=False)
    assert tokenizer().eos_ids == (2,)


@pytest.mark.parametrize(
    "changes, wanted",
    [
        ({"scores": None}, "tokenizer.ggml.scores is missing"),
        ({"scores": [0.0]}, "scores has 1 values"),
        ({"scores": ["x"]}, "scores is no list of float"),
    ],
)
def test_bad_metadata(changes: dict[str, Any], wanted: str) -> None:
    with pytest.raises(HardcastError, match=wanted):
        spec(**changes)


def test_a_token_of_absurd_length_is_refused() -> None:
    """Each token is tried at every cut: a megabyte of one would take for ever."""
    tokens, scores, types = vocabulary()
    with pytest.raises(HardcastError, match="has 1000000 letters, more than 256"):
        spec(tokens=[*tokens, "a" * 10**6], scores=[*scores, -1.0], token_type=[*types, 1])
