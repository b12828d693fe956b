"""Schemas as people's tools write them: what a grammar cannot say is left out, named or refused."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from hardcast.errors import HardcastError
from hardcast.serve.scheduling.constrain import Constraint, Grammars
from hardcast.serve.scheduling.relax import relaxed
from hardcast.tokenizer import Tokenizer
from tests.serve.asking import build_image, tokenizer_of

pytest.importorskip("llguidance")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer_of(build_image(tmp_path_factory.mktemp("relax")))


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer, 1009)


def takes(constraint: Constraint, tokenizer: Tokenizer, value: Any) -> bool:
    matcher = constraint.start()
    for token in tokenizer.encode(json.dumps(value)):
        if not matcher.allowed()[token]:
            return False
        matcher.push(token)
    return bool(matcher.allowed()[list(tokenizer.eos_ids)].all())


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]
    age: int


@pytest.mark.parametrize("kind, good, bad", [
    (set[int], [1, 2], ["a"]),
    (decimal.Decimal, "-1.5", True),
    (uuid.UUID, "123e4567-e89b-42d3-a456-426614174000", "12"),
    (Path, "/tmp", 1),
    (bytes, "abc", 1),
    (datetime.timedelta, "PT5M", "five"),
    (Cat | Dog, {"kind": "dog", "age": 1}, {"kind": "dog"}),
    (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "cat"}, {"kind": "cow"}),
    (dict[Literal["a", "b"], int], {"a": 1}, {"c": 1}),
    (dict[str, int], {"x": 1}, {"x": "y"}),
    (tuple[int, str], [1, "a"], ["a", 1]),
    (Annotated[str, Field(json_schema_extra={"format": "password"})], "x", 1),
])  # fmt: skip
def test_what_pydantic_writes(
    kind: Any, good: Any, bad: Any, grammars: Grammars, tokenizer: Tokenizer
) -> None:
    schema = create_model("X", a=(kind, ...)).model_json_schema()
    grammar = grammars.json_schema(schema)
    assert takes(grammar, tokenizer, {"a": good})
    assert not takes(grammar, tokenizer, {"a": bad})


EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9-]*\.)+[A-Za-z]{2,}$"


@pytest.mark.parametrize("schema, good, bad", [
    ({"type": "string", "format": "email", "pattern": EMAIL}, "a.b@c.de", "a@b"),
    ({"type": "object", "propertyNames": {"type": "string"},
      "additionalProperties": {"type": "number"}}, {"x": 1}, {"x": "y"}),
    ({"type": "object", "propertyNames": {"enum": ["a", "b"]}, "required": ["a"],
      "additionalProperties": {"const": 1}}, {"a": 1}, {"a": 1, "c": 1}),
    ({"type": "object", "propertyNames": {"pattern": "^x"},
      "additionalProperties": {"const": 1}}, {"xy": 1}, {"a": 1}),
    ({"oneOf": [{"$ref": "#/$defs/a"}, {"type": "string"}], "$defs": {"a": {"const": 1}}}, 1, 2),
    ({"type": "string", "pattern": "^a(?=[)]b)(?<!c)d$"}, "ad", "d"),
    ({"type": "object", "properties": {"format": {"const": 1}, "uniqueItems": {"const": 2}},
      "additionalProperties": False}, {"format": 1, "uniqueItems": 2}, {"format": 2}),
])  # fmt: skip
def test_what_zod_writes(
    schema: Any, good: Any, bad: Any, grammars: Grammars, tokenizer: Tokenizer
) -> None:
    grammar = grammars.json_schema(schema)
    assert takes(grammar, tokenizer, good)
    assert not takes(grammar, tokenizer, bad)


def test_data_is_no_keyword() -> None:
    schema = {"const": {"format": "x", "uniqueItems": True}, "items": {"format": "uuid"}}
    assert relaxed(schema) == schema


@pytest.mark.parametrize("schema, words", [
    ({"properties": {"a": {"not": {}}}}, "not at #/properties/a: "),
    ({"items": {"anyOf": [{}, {"if": {}, "then": {}}]}}, "if at #/items/anyOf/1: "),
    ({"$defs": {"x": {"contains": {}}}, "$ref": "#/$defs/x"}, "contains at #/$defs/x: "),
    ({"properties": {"a": {}, "b": {}}, "minProperties": 1, "maxProperties": 1, "type": "object",
      "required": ["a"]}, "minProperties at #: "),
    ({"propertyNames": {"maxLength": 3}}, "propertyNames at #: "),
    ({"$dynamicRef": "#x"}, "$dynamicRef at #: "),
    ({"patternProperties": {"^a": {}, "^ab": {}}}, "patternProperties at #: "),
])  # fmt: skip
def test_what_is_refused_is_named_with_its_place(
    schema: Any, words: str, grammars: Grammars
) -> None:
    for ask in (
        lambda: grammars.json_schema(schema),
        lambda: grammars.lark("start: schema0 schema1", [("x", {"type": "null"}), ("y", schema)]),
    ):
        with pytest.raises(HardcastError) as caught:
            ask()
        assert words in str(caught.value) and "\n" not in str(caught.value)


AGAIN = {"type": "object", "properties": {"a": {"$ref": "#"}}}


@pytest.mark.parametrize("schema, ends", [
    ({"$ref": "#"}, False),
    ({"allOf": [{"$ref": "#"}]}, False),
    ({"anyOf": [{"$ref": "#"}]}, False),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, True),
    (AGAIN, True),
    ({**AGAIN, "required": ["a"]}, False),
    ({**AGAIN, "required": ["a"], "type": ["object", "null"]}, True),
    ({"type": "array", "items": {"$ref": "#"}}, True),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, False),
    ({"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}, "required": ["a"]}, False),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
     False),
    ({"$ref": "#x", "$defs": {"a": {"$anchor": "x", "$ref": "#x"}}}, False),
    ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "const": 1}, True),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "required": ["v", "c"], "properties": {
        "v": {"const": 1}, "c": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]}}}}}, True),
    ({"$id": "urn:a", "$ref": "urn:b", "$defs": {"b": {"$id": "urn:b", "$ref": "#"}}}, False),
])  # fmt: skip
def test_a_schema_without_an_end(schema: Any, ends: bool, grammars: Grammars) -> None:
    if ends:
        grammars.json_schema(schema)
        return
    with pytest.raises(HardcastError, match="without end"):
        grammars.json_schema(schema)
