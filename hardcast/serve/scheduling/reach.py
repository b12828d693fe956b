"""Where a schema's references lead, and whether any finite JSON satisfies it.

The grammar's library finds out that a schema asks for itself without end only when an answer
comes to that place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urljoin

from hardcast.errors import HardcastError
from hardcast.serve.scheduling.references import DATA, NAMED, elsewhere, nowhere

LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE = ("items", "additionalItems", "additionalProperties", "contains", "not", "propertyNames")
Node = tuple[Any, Any, str]  # a schema, the resource that it is part of, and that one's URI


def check(schema: Any) -> None:
    """Raises HardcastError for a reference to nowhere or elsewhere, or a schema without an end.

    Only what can be reached from the root counts. RecursionError for one nested too deeply.
    """
    reach = _Reach(schema)
    ends: set[int] = set()
    grown = -1
    while grown != len(ends):  # each round adds what ends because of the round before
        grown = len(ends)
        ends |= {key for key, node in reach.nodes.items() if reach.ends(node, ends)}
    if isinstance(schema, dict) and id(schema) not in ends:
        raise HardcastError(
            "the schema asks for itself without end: no finite JSON satisfies it; make what leads "
            "back ($ref) optional, or give it another choice (anyOf with null)"
        )


class _Reach:
    """nodes: all schemas that can be reached, by identity."""

    def __init__(self, schema: Any) -> None:
        self._resources: dict[str, Any] = {"": schema}
        self._anchors: dict[str, Node] = {}
        self._collect(schema, schema, "")
        self.nodes: dict[int, Node] = {}
        waiting: list[Node] = [(schema, schema, self._id(schema, ""))]
        while waiting:
            node = waiting.pop()
            if isinstance(node[0], dict) and id(node[0]) not in self.nodes:
                self.nodes[id(node[0])] = node
                waiting += self._below(node)

    def _collect(self, part: Any, root: Any, base: str) -> None:
        """Notes every $id and $anchor."""
        if isinstance(part, list):
            for one in part:
                self._collect(one, root, base)
        if not isinstance(part, dict):
            return
        if self._id(part, base) != base:
            root, base = part, self._id(part, base)
            self._resources[base] = part
        names = [part.get("$anchor"), part.get("$dynamicAnchor")]
        names += [str(part.get(key, ""))[1:] for key in ("$id", "id") if _is_anchor(part.get(key))]
        for name in names:
            if isinstance(name, str):
                self._anchors[name] = (part, root, base)
        for key, value in part.items():
            if key not in DATA:
                self._collect(value, root, base)

    @staticmethod
    def _id(part: Any, base: str) -> str:
        own = part.get("$id", part.get("id")) if isinstance(part, dict) else None
        return urljoin(base, own.rstrip("#")) if isinstance(own, str) and own[:1] != "#" else base

    def _child(self, part: Any, root: Any, base: str) -> Node:
        own = self._id(part, base)
        return (part, root, base) if own == base else (part, part, own)

    def _below(self, node: Node) -> Iterator[Node]:
        schema, root, base = node
        if isinstance(schema.get("$ref"), str):
            yield from self.target(schema["$ref"], root, base)
        parts = [schema.get(key) for key in SINGLE]
        for key in LISTS:
            parts += schema[key] if isinstance(schema.get(key), list) else []
        for key in ("properties", "patternProperties"):
            parts += schema[key].values() if isinstance(schema.get(key), dict) else []
        parts += schema["items"] if isinstance(schema.get("items"), list) else []
        for part in parts:
            if isinstance(part, dict):
                yield self._child(part, root, base)

    def target(self, reference: str, root: Any, base: str) -> list[Node]:
        """What a reference leads to; nothing where only the library can tell."""
        document, _, fragment = reference.partition("#")
        if document:
            base = urljoin(base, document)
            if base not in self._resources:
                raise HardcastError(elsewhere(document))
            root = self._resources[base]
        if fragment and not fragment.startswith("/"):
            if unquote(fragment) not in self._anchors:
                raise HardcastError(nowhere(fragment))
            return [self._anchors[unquote(fragment)]]
        found = root
        for part in fragment.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict) and name in found:
                found = found[name]
                if self._id(found, base) != base and name not in NAMED:
                    root, base = found, self._id(found, base)
            else:
                raise HardcastError(nowhere(fragment))
        return [(found, root, base)]

    def ends(self, node: Node, known: set[int]) -> bool:
        """Whether some finite JSON satisfies a schema, if all of `known` have some."""
        schema, root, base = node

        def all_of(parts: Any) -> bool:
            return all(not isinstance(p, dict) or id(p) in known for p in parts)

        if "const" in schema or "enum" in schema:
            return True
        if isinstance(schema.get("$ref"), str):
            if not all_of(part for part, _, _ in self.target(schema["$ref"], root, base)):
                return False
        if isinstance(schema.get("allOf"), list) and not all_of(schema["allOf"]):
            return False
        for key in ("anyOf", "oneOf"):
            choices = schema.get(key)
            if isinstance(choices, list) and choices and not any(all_of([c]) for c in choices):
                return False
        kinds = schema.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not isinstance(kinds, list) or not set(map(str, kinds)) <= {"object", "array"}:
            return True
        return any(all_of(_needed(schema, kind)) for kind in kinds) or not kinds


def _needed(schema: dict[str, Any], kind: str) -> list[Any]:
    """The schemas of what an object or array must hold."""
    if kind == "object":
        named, others = schema.get("properties"), schema.get("additionalProperties")
        required = schema.get("required")
        return [
            named[name] if isinstance(named, dict) and name in named else others
            for name in (required if isinstance(required, list) else [])
            if isinstance(name, str)
        ]
    least = schema.get("minItems", 0)
    least = int(least) if isinstance(least, int | float) and least < 1 << 20 else 0
    first = schema.get("prefixItems", [])
    first = first if isinstance(first, list) else []
    return [*first[:least], *([schema.get("items")] if least > len(first) else [])]


def _is_anchor(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("#")
