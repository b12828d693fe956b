"""Keywords of a schema that a grammar has no words for: those that it can do without are left out.

A keyword goes where it restricts nothing, where other keywords say the same, or where what remains
only allows more; docs/serve.md lists these. What is left is refused by the library, and `in_words`
says where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hardcast.serve.scheduling.references import DATA, NAMED

FORMATS = frozenset(
    "date-time time date duration email hostname ipv4 ipv6 uuid uri unknown".split()
)
LOOK_AROUND = re.compile(r"\(\?<?[=!]")
UNKNOWN = re.compile(r'Unimplemented keys: \["([^"]+)"')
# What the library says of a keyword that it knows in part.
IN_PART = (
    ("min/maxProperties", ("minProperties", "maxProperties"), "not with optional properties"),
    ("patternProperty regexes", ("patternProperties",), "its patterns have to exclude one another"),
)


def relaxed(schema: Any) -> Any:
    """A copy of a schema without the keywords that can be done without.

    Raises RecursionError for one that is nested too deeply.
    """
    if isinstance(schema, list):
        return [relaxed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in DATA:
            found[key] = value
        elif key in NAMED and isinstance(value, dict):
            found[key] = {name: relaxed(part) for name, part in value.items()}
        elif not _idle(key, value, schema):
            found[key] = relaxed(value)
    if isinstance(found.get("pattern"), str):
        found["pattern"] = _without_look_around(found["pattern"])
    return _names_as_properties(found)


def in_words(message: str, schema: Any) -> str:
    """What the library says of a keyword, with its place; all else as it is."""
    if found := UNKNOWN.search(message):
        keyword, why = found[1], "no grammar can follow it here"
        keys: tuple[str, ...] = (keyword,)
    else:
        known = next((one for one in IN_PART if one[0] in message), None)
        if known is None:
            return message
        keys, why = known[1], known[2]
    key, place = next(_places(schema, keys, "#"), (keys[0], "#"))
    return f"{key} at {place}: {why}; leave it out and check the answer yourself"


def _idle(key: str, value: Any, schema: dict[str, Any]) -> bool:
    """Whether a keyword is left out."""
    match key:
        case "format":
            return value not in FORMATS  # an annotation, as JSON Schema has it
        case "uniqueItems":
            return True
        case "propertyNames":
            # Every name is a string.
            return value is True or (isinstance(value, dict) and set(value) <= {"type"})
        case "unevaluatedProperties" | "unevaluatedItems":
            return value is True or value == {}
        case "dependentRequired" | "dependentSchemas" | "dependencies":
            return value == {}
        case "$dynamicAnchor" | "$recursiveAnchor":
            return True  # of no effect without a reference of its kind, which is refused
        case "then" | "else":
            return "if" not in schema
        case "if":
            return "then" not in schema and "else" not in schema
        case "minContains" | "maxContains":
            return "contains" not in schema
    return False


def _names_as_properties(schema: dict[str, Any]) -> dict[str, Any]:
    """propertyNames said by other keywords, where those are free."""
    names = schema.get("propertyNames")
    if not isinstance(names, dict) or {"properties", "patternProperties"} & set(schema):
        return schema
    rest = {k: v for k, v in schema.items() if k not in ("propertyNames", "additionalProperties")}
    value, said = schema.get("additionalProperties", True), set(names) - {"type"}
    if said == {"enum"} and all(isinstance(name, str) for name in names["enum"]):
        named = {"properties": dict.fromkeys(names["enum"], value)}
    elif said == {"pattern"}:
        named = {"patternProperties": {names["pattern"]: value}}
    else:
        return schema
    return {**rest, **named, "additionalProperties": False}


def _without_look_around(pattern: str) -> str:
    """A pattern without its look-around, which only takes texts away."""
    while found := LOOK_AROUND.search(pattern):
        depth, at, in_class = 1, found.end(), False
        while at < len(pattern) and depth:
            letter = pattern[at]
            at += 1 + (letter == "\\")
            in_class = letter == "[" or (in_class and letter != "]")
            if not in_class:
                depth += (letter == "(") - (letter == ")")
        if depth:
            return pattern  # malformed: the library says so
        pattern = f"{pattern[: found.start()]}(?:){pattern[at:]}"
    return pattern


def _places(schema: Any, keys: tuple[str, ...], place: str) -> Iterator[tuple[str, str]]:
    """(keyword, where its schema stands) of some keywords."""
    if isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from _places(part, keys, f"{place}/{index}")
    if not isinstance(schema, dict):
        return
    yield from ((key, place) for key in keys if key in schema)
    for key, value in schema.items():
        if key in NAMED and isinstance(value, dict):
            for name, part in value.items():
                yield from _places(part, keys, f"{place}/{key}/{name}")
        elif key not in DATA:
            yield from _places(value, keys, f"{place}/{key}")
