"""References within a JSON schema as people write them, and what is wrong with one in words.

The grammar's library follows every `$ref` that JSON Schema allows (`#`, pointers, `$id`,
`$anchor`), but takes a URI by its letter, while schemas are written with names as they are
(`#/definitions/List[int]`, `#/$defs/Größe`).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

# Their values are data: what looks like a schema in them is none.
DATA = frozenset(("const", "enum", "default", "examples", "example"))
# Their values are schemas by name: a name is no keyword.
NAMED = frozenset(
    "properties patternProperties $defs definitions dependentSchemas dependencies".split()
)
SAFE = "%/?:@!$&'()*+,;=~-._"  # what RFC 3986 lets a fragment hold as it is
LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
NOWHERE = re.compile("(?:Pointer|Anchor) '(.*?)' does not exist")
ELSEWHERE = re.compile("Resource '(?:json-schema:///)?(.*?)' is not present")


def as_uris(schema: Any) -> Any:
    """A copy of a schema whose references are URIs: what a URI may not hold is escaped.

    Raises RecursionError for one that is nested too deeply.
    """
    if isinstance(schema, list):
        return [as_uris(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _value(key, value) for key, value in schema.items()}


def in_words(message: str) -> str:
    """What the library says of a reference, as the schema's author knows it; all else as it is."""
    if found := NOWHERE.search(message):
        return nowhere(found[1].removeprefix("#"))
    if found := ELSEWHERE.search(message):
        return elsewhere(found[1])
    return message


def nowhere(fragment: str) -> str:
    """Of a reference within the schema that leads to nothing."""
    return f"$ref '#{fragment}' points nowhere in the schema"


def elsewhere(document: str) -> str:
    """Of a reference to another document."""
    return f"$ref {document!r} is in another document; put what it says under $defs"


def as_object(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of those values of `schema` that are objects. What refers to it still means it."""
    if schema.get("type") == "object":
        return schema
    if not _refers_to_whole(schema):
        return {**schema, "type": "object"}
    name = schema.get("$id")
    name = name if isinstance(name, str) and ":" in name else "urn:hardcast:schema"
    return {"type": "object", "$ref": name, "$defs": {"schema": {**schema, "$id": name}}}


def _refers_to_whole(part: Any) -> bool:
    if isinstance(part, list):
        return any(map(_refers_to_whole, part))
    if not isinstance(part, dict):
        return False
    reference = part.get("$ref")
    if isinstance(reference, str) and reference.rpartition("#")[2] in ("", reference):
        return True
    return any(_refers_to_whole(value) for key, value in part.items() if key not in DATA)


def _value(key: str, value: Any) -> Any:
    if key == "$ref" and isinstance(value, str):
        return _uri(value)
    if key in DATA:
        return value
    if key in NAMED and isinstance(value, dict):
        return {name: as_uris(part) for name, part in value.items()}
    return as_uris(value)


def _uri(reference: str) -> str:
    document, _, fragment = reference.partition("#")
    fragment = quote(LONE_PERCENT.sub("%25", fragment), safe=SAFE)
    return f"{document}#{fragment}" if fragment or not document else document
