"""Constrained decoding: whatever the sampler draws, the text follows its grammar."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.serve.scheduling.constrain import MOST_BYTES, Constraint, Grammars
from hardcast.tokenizer import Tokenizer
from tests.serve.asking import build_image, tokenizer_of

pytest.importorskip("llguidance")
VOCAB = 1009
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "of": {"enum": ["chip", "mask"]}},
    "required": ["age", "of"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_of(build_image(tmp_path_factory.mktemp("constrain")))


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer, VOCAB)


def drawn(constraint: Constraint, tokenizer: Tokenizer, seed: int, most: int) -> str | None:
    """A text made of tokens drawn among the allowed ones; None if it is not complete by then."""
    generator, matcher, made = np.random.default_rng(seed), constraint.start(), []
    for _ in range(most):
        allowed = matcher.allowed()
        assert allowed.shape == (VOCAB,) and allowed.dtype == np.bool_ and allowed.any()
        token = int(generator.choice(np.flatnonzero(allowed)))
        matcher.push(token)
        if token in tokenizer.eos_ids:
            return tokenizer.decode(made)
        made.append(token)
    return None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_drawn_text_follows_its_schema(grammars: Grammars, tokenizer: Tokenizer, seed: int) -> None:
    text = drawn(grammars.json_schema(PERSON), tokenizer, seed, 400)
    if text is not None:
        found = json.loads(text)
        assert set(found) == {"age", "of"} and found["of"] in ("chip", "mask")
        assert isinstance(found["age"], int)


def test_most_texts_come_to_an_end(grammars: Grammars, tokenizer: Tokenizer) -> None:
    ended = [drawn(grammars.json_schema(PERSON), tokenizer, seed, 400) for seed in range(40)]
    assert sum(text is not None for text in ended) > 20


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_drawn_text_matches_its_pattern(
    grammars: Grammars, tokenizer: Tokenizer, seed: int
) -> None:
    pattern = r"(yes|no), [a-f]{2,4}!"
    text = drawn(grammars.regex(pattern), tokenizer, seed, 100)
    assert text is not None and re.fullmatch(pattern, text)


def test_any_value(grammars: Grammars, tokenizer: Tokenizer) -> None:
    matcher = grammars.json_schema(True).start()
    for token in tokenizer.encode('["a", 1]'):
        assert matcher.allowed()[token]
        matcher.push(token)


def test_any_object(grammars: Grammars, tokenizer: Tokenizer) -> None:
    matcher = grammars.json_object().start()
    for token in tokenizer.encode('{"a": [1, {"b": null}], "c": "d"}'):
        assert matcher.allowed()[token]
        matcher.push(token)
    assert matcher.allowed()[list(tokenizer.eos_ids)].all()


def test_white_space_comes_to_an_end(grammars: Grammars, tokenizer: Tokenizer) -> None:
    matcher = grammars.json_object().start()
    spaces = [token for token in range(VOCAB) if not tokenizer.token_bytes(token, False).strip()]
    for token in tokenizer.encode("{" + "\n" * 64):
        assert matcher.allowed()[token]
        matcher.push(token)
    blank = [token for token in spaces if tokenizer.token_bytes(token, False)]
    assert blank and not matcher.allowed()[blank].any()


def test_special_tokens_are_no_text_of_a_string(grammars: Grammars, tokenizer: Tokenizer) -> None:
    """A string may hold the letters of a special token, never the token."""
    matcher = grammars.json_schema({"type": "string"}).start()
    for token in tokenizer.encode('"a'):
        matcher.push(token)
    assert not matcher.allowed()[[0, 1, 2]].any()


def test_answers_do_not_share_a_place(grammars: Grammars, tokenizer: Tokenizer) -> None:
    constraint = grammars.regex("ab")
    first, second = constraint.start(), constraint.start()
    (a,) = tokenizer.encode("a")
    first.push(a)
    assert not first.allowed()[a] and second.allowed()[a]


def test_what_is_not_allowed_is_refused(grammars: Grammars, tokenizer: Tokenizer) -> None:
    matcher = grammars.regex("ab").start()
    with pytest.raises(HardcastError, match="the grammar failed"):
        matcher.push(tokenizer.encode("b")[0])
    with pytest.raises(HardcastError, match="the grammar failed"):
        matcher.allowed()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "nothing"}, "Invalid type: nothing"),
        ({"$ref": "http://localhost/x"}, "http://localhost/x"),
        ({"type": "string", "pattern": "("}, "unclosed group"),
        ([1], "the schema must be an object"),
        (False, "the schema must be an object"),
        ({"enum": [float("nan")]}, "not JSON"),
        ({"const": "x" * MOST_BYTES}, "longer than 256 KiB"),
    ],
)
def test_schemas_that_cannot_be_followed(grammars: Grammars, schema: Any, message: str) -> None:
    with pytest.raises(HardcastError, match=re.escape(message)) as caught:
        grammars.json_schema(schema)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("json_schema: ")


def test_a_deep_schema_is_refused_or_followed(grammars: Grammars) -> None:
    """Nothing in between: no crash, no endless work."""
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(600):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    try:
        assert grammars.json_schema(schema).start().allowed().any()
    except HardcastError as error:
        assert "\n" not in str(error)


def test_a_malformed_pattern(grammars: Grammars) -> None:
    with pytest.raises(HardcastError, match="^regex: .*unclosed group") as caught:
        grammars.regex("(")
    assert "\n" not in str(caught.value)


def test_loading_waits_until_it_is_needed(tokenizer: Tokenizer) -> None:
    grammars = Grammars(tokenizer, VOCAB)
    assert "_native" not in vars(grammars)
    grammars.warm()
    assert "_native" in vars(grammars)


def test_a_vocabulary_with_more_rows_than_tokens(tokenizer: Tokenizer) -> None:
    """Matrices are often padded: ids that no token has are never allowed."""
    matcher = Grammars(tokenizer, VOCAB + 55).regex("[a-z ]+").start()
    allowed = matcher.allowed()
    assert allowed.shape == (VOCAB + 55,) and not allowed[VOCAB:].any() and allowed.any()


def test_grammars_from_several_threads(grammars: Grammars, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: grammars.regex(f"a{{{n}}}b"), range(1, 40)))
    assert all(one.start().allowed().any() for one in made)
