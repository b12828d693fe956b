"""The grammar of calls: a schema means within one what it means alone, whatever it refers to."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.serve.openai.asked import constraint_of
from hardcast.serve.openai.call_grammar import required_call, schema_or_calls, strict_calls
from hardcast.serve.openai.messages import Function
from hardcast.serve.openai.requests import ChatRequest
from hardcast.serve.openai.tools import special_tags
from hardcast.serve.scheduling.constrain import Constraint, Grammars
from hardcast.serve.scheduling.references import as_uris
from hardcast.tokenizer import Tokenizer
from tests.serve.asking import build_image, tokenizer_of
from tests.serve.served import TOOL_TEMPLATE, chat

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


def calls_of(grammars: Grammars, *functions: tuple[str, dict[str, Any]]) -> Constraint:
    """The grammar of a call that must come."""
    return required_call(grammars, [Function(name=n, parameters=s) for n, s in functions])


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
    calls = calls_of(grammars, ("g", other[0]), ("f", schema))
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
    calls = calls_of(grammars, ("f", schema))
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
        lambda: calls_of(grammars, ("f", good), ("wrong", bad)),
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


# Calls within free answers, of functions that are strict

STRICT = Function(
    name="f",
    strict=True,
    parameters={
        "properties": {"a": {"const": 1}},
        "required": ["a"],
        "additionalProperties": False,
    },
)
LOOSE = Function(name="g", parameters={"properties": {"a": {"const": 1}}, "required": ["a"]})


def tagged(name: str, arguments: Any, space: str = "\n") -> str:
    return f"<tool_call>{space}{call(name, arguments)}{space}</tool_call>"


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(
        st.one_of(
            st.text(alphabet='<tol_ca>/ {}"\n', max_size=12).filter(
                lambda t: "<tool_call>" not in t
            ),
            st.builds(
                tagged,
                st.sampled_from("fgh"),
                st.sampled_from([{"a": 1}, {"a": 2}, {}, {"b": [1]}]),
                st.sampled_from(["", "\n"]),
            ),
        ),
        max_size=4,
    ),
    parallel=st.booleans(),
)
def test_a_strict_call_in_a_free_answer(
    parts: list[str], parallel: bool, grammars: Grammars, tokenizer: Tokenizer
) -> None:
    """All text passes; a call of f with its own arguments, one of g with any, none of another."""
    text = "".join(parts)
    found = text.split("<tool_call>")[1:]
    may = [("f", {"a": 1}), ("g", {"a": 1}), ("g", {"a": 2}), ("g", {}), ("g", {"b": [1]})]
    good = [tagged(*one, space) for one in may for space in ("", "\n")]
    right = all(any(("<tool_call>" + part).startswith(one) for one in good) for part in found)
    if not parallel and found:
        right = right and len(found) == 1 and text.endswith("</tool_call>")
    constraint = strict_calls(grammars, "tagged", [STRICT, LOOSE], parallel)
    assert takes(constraint, tokenizer, text) == right


@pytest.mark.parametrize("text, right", [
    ('{"name": "f", "parameters": {"a": 1}}', True),
    (' \n{"name": "g", "parameters": {"b": 2}}', True),
    ('{"name": "f", "parameters": {"a": 2}}', False),
    ('{"name": "h", "parameters": {}}', False),
    ("The answer is {1}.", True),
    ("", True),
    ("  \n", True),
])  # fmt: skip
def test_a_strict_call_that_is_a_whole_answer(
    text: str, right: bool, grammars: Grammars, tokenizer: Tokenizer
) -> None:
    constraint = strict_calls(grammars, "bare", [STRICT, LOOSE], True)
    assert takes(constraint, tokenizer, text) == right


def with_tokens(tokenizer: Tokenizer, special: bool) -> Tokenizer:
    """The same one, whose tags are tokens of their own, as in the models that have them."""
    definition = json.loads(json.dumps(tokenizer.spec.definition))
    vocabulary = definition["model"]["vocab"]
    fillers = sorted(token for token in vocabulary if token.startswith("<filler_"))
    for content, filler in zip(["<tool_call>", "</tool_call>", "<think>"], fillers, strict=False):
        number = vocabulary[content] = vocabulary.pop(filler)
        one = {**definition["added_tokens"][0], "id": number, "content": content}
        definition["added_tokens"].append({**one, "special": special})
    return Tokenizer(replace(tokenizer.spec, definition=definition))


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("parallel", [True, False])
def test_tags_that_are_tokens(tokenizer: Tokenizer, special: bool, parallel: bool) -> None:
    own = with_tokens(tokenizer, special)
    assert len(own.encode("<tool_call></tool_call><think>")) == 3
    good, bad = tagged("f", {"a": 1}), tagged("f", {"a": 2})
    calls = strict_calls(Grammars(own, 1009), "tagged", [STRICT, LOOSE], parallel)
    for text in ("words", good, f"<think>so\n{good}", f"a <think> b <|im_start|> {good}"):
        assert takes(calls, own, text)
    assert takes(calls, own, f"{good}\n{good} <think>") == parallel
    for text in (bad, f"<think>{bad}", f"{good}{bad}", "<tool_call> of words"):
        assert not takes(calls, own, text)
    written = own.decode(own.encode(good))
    assert (written == good) != special
    spoken = own.stream(spoken=frozenset(special_tags(own).values()))
    assert "".join(map(spoken.push, own.encode(good))) == good


@pytest.mark.parametrize("special", [True, False])
def test_a_bare_call_after_a_token_without_text(tokenizer: Tokenizer, special: bool) -> None:
    own = with_tokens(tokenizer, special)
    calls = strict_calls(Grammars(own, 1009), "bare", [STRICT, LOOSE], True)
    good, bad = '{"name": "f", "parameters": {"a": 1}}', '{"name": "f", "parameters": {"a": 2}}'
    for text in (
        f"<|im_start|>{good}",
        "<think>words {1}",
        "a<|im_start|><think>",
        " <|im_start|>",
    ):
        assert takes(calls, own, text)
    assert not takes(calls, own, f"<|im_start|>{bad}")


@pytest.mark.parametrize("special", [True, False])
def test_an_answer_by_a_schema_or_a_call(tokenizer: Tokenizer, special: bool) -> None:
    own = with_tokens(tokenizer, special)
    schema = {"type": "object", "properties": {"b": {"const": 2}}, "required": ["b"]}
    good = tagged("f", {"a": 1})
    for parallel in (True, False):
        grammar = schema_or_calls(Grammars(own, 1009), "tagged", [STRICT], parallel, schema)
        for text in ('{"b": 2}', good, f"\n{good}"):
            assert takes(grammar, own, text)
        assert takes(grammar, own, f"{good}\n{good}") == parallel
        for text in ('{"b": 3}', "words", tagged("f", {"a": 2}), f"words {good}"):
            assert not takes(grammar, own, text)
    with pytest.raises(HardcastError, match="tool_choice"):
        schema_or_calls(Grammars(own, 1009), "bare", [STRICT], True, schema)


def test_an_object_whose_type_is_forced_refers_to_what_was_written(
    grammars: Grammars, tokenizer: Tokenizer
) -> None:
    properties = {"n": {"$ref": "#"}, "m": {"$ref": "#/properties/k"}, "k": {"const": 1}}
    for kind in ({"type": ["object", "null"]}, {"anyOf": [{"type": "object"}, {"const": None}]}):
        calls = calls_of(grammars, ("f", {**kind, "properties": properties}))
        assert takes(calls, tokenizer, call("f", {"n": {"n": None, "m": 1}}))
        assert not takes(calls, tokenizer, call("f", None))
        assert not takes(calls, tokenizer, call("f", {"n": {"m": 2}}))


@pytest.mark.parametrize("change, text, right", [
    ({}, tagged("f", {"a": 2}), False),
    ({}, "words", True),
    ({"parallel_tool_calls": False}, tagged("f", {"a": 1}) + "x", False),
    ({"tools": [{"type": "function", "function": LOOSE.model_dump()}]}, None, True),
    ({"tool_choice": "none"}, None, True),
    ({"tool_choice": "required"}, call("f", {"a": 1}), True),
    ({"tool_choice": "required"}, "words", False),
    ({"response_format": {"type": "json_object"}}, "{}", True),
    ({"response_format": {"type": "json_object"}}, tagged("f", {"a": 1}), True),
    ({"response_format": {"type": "json_object"}, "tool_choice": "none"},
     tagged("f", {"a": 1}), False),
    ({"response_format": {"type": "json_object"}}, "words", False),
])  # fmt: skip
def test_which_grammar_an_answer_follows(
    change: dict[str, Any], text: str | None, right: bool, grammars: Grammars, tokenizer: Tokenizer
) -> None:
    tools = [{"type": "function", "function": STRICT.model_dump()}]
    asked = ChatRequest.model_validate({**chat(), "tools": tools, **change})
    tool_user = SimpleNamespace(tool_template=TOOL_TEMPLATE, special_ids=frozenset())
    service: Any = SimpleNamespace(grammars=grammars, tokenizer=tool_user)
    constraint = constraint_of(service, asked)
    if text is None:
        assert constraint is None
    else:
        assert constraint is not None and takes(constraint, tokenizer, text) == right
