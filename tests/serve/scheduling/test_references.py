"""A schema means within a call what it means alone, whatever refers to what in it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.serve.scheduling.constrain import Constraint, Grammars
from hardcast.serve.scheduling.references import as_uris
from hardcast.tokenizer import Tokenizer
from tests.serve.asking import build_image, tokenizer_of

pytest.importorskip("llguidance")
jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is missing: the independent word")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_of(build_image(tmp_path_factory.mktemp("references")))


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer, 1009)


def takes(constraint: Constraint, tokenizer: Tokenizer, text: str) -> bool:
    """Whether a grammar lets a text through, and lets it end there."""
    matcher = constraint.start()
    for token in tokenizer.encode(text):
        if not matcher.allowed()[token]:
            return False
        matcher.push(token)
    return bool(matcher.allowed()[list(tokenizer.eos_ids)].all())


def call(name: str, arguments: Any) -> str:
    return f'{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}'


# Names that people's tools give to types, and where they put them.
NAMES = [
    "P",
    "a/b",
    "t~il",
    "100%",
    "List[int]",
    "Record<string,any>",
    "Größe",
    "a b",
    "$ref",
    "%41",
]
PLACES = [("$defs",), ("definitions",), ("components", "schemas"), ("$defs", "Q", "$defs")]


def pointer(place: tuple[str, ...], name: str, escape: bool) -> str:
    parts = [part.replace("~", "~0").replace("/", "~1") for part in (*place, name)]
    # Unescaped as people write it, but for what would then mean something else.
    escaped = [quote(p, safe="$~") if escape else p.replace("%41", "%2541") for p in parts]
    return "#/" + "/".join(escaped)


@st.composite
def documents(draw: st.DrawFn) -> tuple[dict[str, Any], Any, Any]:
    """(schema, a value of it, one that is none): types by name that refer to one another."""
    place = draw(st.sampled_from(PLACES))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    types: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for number, name in enumerate(names):
        made = {"const": number, "title": draw(st.sampled_from(["#/nowhere", "x"]))}
        value: Any = number
        if types and draw(st.booleans()):  # an object that refers to one before it
            other = draw(st.sampled_from(sorted(types)))
            made = {
                "type": "object",
                "properties": {"k": {"$ref": pointer(place, other, draw(st.booleans()))}},
                "required": ["k"],
                "additionalProperties": False,
            }
            value = {"k": values[other]}
        types[name], values[name] = made, value
    last = names[-1]
    again = draw(st.booleans())
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "who": {"$ref": pointer(place, last, draw(st.booleans()))},
            **({"next": {"$ref": "#"}} if again else {}),
        },
        "required": ["who"],
        "additionalProperties": False,
    }
    inner: dict[str, Any] = schema
    for part in place:
        inner = inner.setdefault(part, {})
    inner.update(types)
    good: dict[str, Any] = {"who": values[last]}
    bad: dict[str, Any] = {"who": "none"}
    for _ in range(draw(st.integers(0, 2)) if again else 0):
        good, bad = {"who": values[last], "next": good}, {"who": values[last], "next": bad}
    return schema, good, bad


@settings(max_examples=60, deadline=None)
@given(drawn=documents(), other=documents())
def test_a_call_takes_what_the_schema_alone_takes(
    drawn: tuple[dict[str, Any], Any, Any],
    other: tuple[dict[str, Any], Any, Any],
    grammars: Grammars,
    tokenizer: Tokenizer,
) -> None:
    """Also beside another function whose types have the same names."""
    schema, good, bad = drawn
    assert jsonschema.Draft202012Validator(as_uris(schema)).is_valid(good)
    own = grammars.json_schema(schema)
    calls = grammars.calls([("g", other[0]), ("f", schema)])
    for value in (good, bad, other[1], other[2]):
        right = takes(own, tokenizer, json.dumps(value, ensure_ascii=False))
        assert takes(calls, tokenizer, call("f", value)) == right
        assert right == jsonschema.Draft202012Validator(as_uris(schema)).is_valid(value)
    assert takes(calls, tokenizer, call("g", other[1]))
    assert not takes(calls, tokenizer, call("h", good))


SEVEN = {"const": 7}
FORMS: dict[str, dict[str, Any]] = {
    "another property": {"properties": {"a": SEVEN, "who": {"$ref": "#/properties/a"}}},
    "a place in a list": {
        "anyOf": [SEVEN, {"type": "object"}],
        "properties": {"who": {"$ref": "#/anyOf/0"}},
    },
    "an anchor": {"$defs": {"x": {**SEVEN, "$anchor": "P"}}, "properties": {"who": {"$ref": "#P"}}},
    "an id": {
        "$id": "https://example.org/s",
        "$defs": {"x": {**SEVEN, "$id": "p"}},
        "properties": {"who": {"$ref": "https://example.org/p"}},
    },
    "a reference to a reference": {
        "$defs": {"x": {"$ref": "#/$defs/y"}, "y": SEVEN},
        "properties": {"who": {"$ref": "#/$defs/x"}},
    },
    "an older draft": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"x": {**SEVEN, "$id": "#P"}},
        "properties": {"who": {"$ref": "#P"}},
    },
    "a property of that name": {
        "properties": {"$ref": SEVEN, "who": {"$ref": "#/properties/$ref"}}
    },
    "data that looks like one": {
        "default": {"$ref": "#/nowhere"},
        "properties": {"who": SEVEN},
        "examples": [{"$ref": 5}],
    },
}


@pytest.mark.parametrize("schema", FORMS.values(), ids=FORMS)
def test_forms_of_a_reference(
    schema: dict[str, Any], grammars: Grammars, tokenizer: Tokenizer
) -> None:
    calls = grammars.calls([("f", {**schema, "type": "object"})])
    for value, right in ((7, True), (8, False)):
        assert takes(calls, tokenizer, call("f", {"who": value})) == right


def test_an_empty_reference_is_the_whole(grammars: Grammars, tokenizer: Tokenizer) -> None:
    schema = {"type": "object", "properties": {"n": {"$ref": ""}}, "additionalProperties": False}
    own = grammars.json_schema(schema)
    assert takes(own, tokenizer, '{"n": {"n": {}}}')
    assert not takes(own, tokenizer, '{"n": 5}')


@pytest.mark.parametrize("reference", [
    "#/$defs/N", "#/properties/a/b", "#nowhere", "https://example.org/other.json", "other.json#/a",
])  # fmt: skip
def test_a_reference_to_nothing_is_named_in_one_line(reference: str, grammars: Grammars) -> None:
    good = {"type": "object"}
    bad = {"type": "object", "properties": {"a": {"$ref": reference}}}
    for ask in (
        lambda: grammars.json_schema(bad),
        lambda: grammars.calls([("f", good), ("wrong", bad)]),
    ):
        with pytest.raises(HardcastError) as caught:
            ask()
        message = str(caught.value)
        assert reference.partition("#")[0] in message and "$ref" in message
        assert reference.rpartition("/")[2] in message and "\n" not in message
    assert "parameters of wrong" in message


def test_what_is_no_reference_is_left() -> None:
    data = {"const": {"$ref": "a b"}, "enum": [{"$ref": "a b"}], "default": {"$ref": "a b"}}
    assert as_uris({**data, "items": {"$ref": "#a b"}}) == {**data, "items": {"$ref": "#a%20b"}}
    assert as_uris({"properties": {"const": {"$ref": "#é"}}}) == {
        "properties": {"const": {"$ref": "#%C3%A9"}}
    }
