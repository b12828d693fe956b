"""One call as a model writes it: a JSON object, of which the arguments' text is handed on as it is.

Reading a number and writing it again would change it (1e999, or more digits than a float has).
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Container
from dataclasses import dataclass
from typing import Any, NoReturn

SPACE = re.compile(r"[ \t\n\r]*")
# What the grammar of a required call has made when it is cut, the name being whole.
CUT = re.compile(r'\s*\{ ?"name" ?: ?"([^"]*)"(?: ?, ?"arguments" ?: ?(.*))?', re.DOTALL)


@dataclass(frozen=True)
class Call:
    """One call. arguments: a JSON object as text, or where the call is not whole its beginning."""

    name: str
    arguments: str
    whole: bool = True

    def reply(self, index: int | None = None) -> dict[str, Any]:
        """As a reply carries it; index only in a stream."""
        place = {} if index is None else {"index": index}
        function = {"name": self.name, "arguments": self.arguments}
        return {
            **place,
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": function,
        }


def read_call(text: str, names: Container[str]) -> Call | None:
    """The call that a JSON object is: its name, and arguments or parameters, an object.

    None for any other text, and for a name that is none of `names`.
    """
    try:
        found = members(text)
        name = DECODER.decode(found.get("name", "null"))
        if not isinstance(name, str) or name not in names:
            return None
        arguments = found.get("arguments", found.get("parameters", "{}"))
        if arguments.startswith('"'):  # some models write the object as text
            arguments = DECODER.decode(arguments)
        members(arguments)
        arguments.encode()
    except (ValueError, RecursionError):
        return None
    return Call(name, arguments.strip())


def cut_call(text: str, names: Collection[str]) -> Call | None:
    """The beginning of a call that a grammar was making, once its name is certain."""
    found = CUT.match(text)
    if found is None or found[1] not in names:
        return Call(next(iter(names)), "", whole=False) if len(names) == 1 else None
    arguments = found[2] or ""
    end = value_end(arguments, 0)
    return Call(found[1], arguments if end is None else arguments[:end], whole=False)


def members(text: str) -> dict[str, str]:
    """Name to value, each as it is written, of a JSON object; of equal names the last.

    Raises ValueError for text that is none, RecursionError for one that is nested too deeply.
    """
    if not isinstance(DECODER.decode(text), dict):
        raise ValueError("no JSON object")
    found, at = {}, text.find('"')
    while at >= 0:  # it is valid, so between a value and the next name is a comma
        name, at = DECODER.raw_decode(text, at)
        match = SPACE.match(text, text.index(":", at) + 1)
        assert match is not None
        begin = match.end()
        _, end = DECODER.raw_decode(text, begin)
        found[name] = text[begin:end]
        at = text.find('"', end)
    return found


def value_end(text: str, begin: int) -> int | None:
    """Where the JSON value ends that begins at a place; None where none does."""
    try:
        return int(DECODER.raw_decode(text, begin)[1])
    except (ValueError, RecursionError):
        return None


def arguments_object(text: str) -> Any:
    """Arguments as an object, which templates want; text that is no JSON object stays text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# Python's own reader takes NaN and refuses long integers.
DECODER = json.JSONDecoder(parse_constant=_no_json, parse_int=float)
