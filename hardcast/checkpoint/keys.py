"""Which keys of a model's description are known (known_keys.toml), and what is said of the others.

A key that is read by nobody may still change the forward pass: then the chip would be of another
model, and nothing would show it. So a key that is known to change it is refused unless its value
does not, and a key that is not known at all is named.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError

NAMED = 12  # unknown keys that a note spells out


@dataclass(frozen=True)
class Known:
    """read, harmless: keys that may have any value. changes: others, with their neutral values."""

    read: frozenset[str]
    harmless: frozenset[str]
    changes: Mapping[str, list[Any]]


@cache
def known(form: str) -> Known:
    """What known_keys.toml says of a form: "config" or "gguf"."""
    table = tomllib.loads(Path(__file__).with_name("known_keys.toml").read_text("utf-8"))[form]
    harmless = frozenset(key for keys in table["harmless"].values() for key in keys)
    return Known(frozenset(table["read"]), harmless, table["changes"])


def check_keys(
    form: str, where: str, values: Mapping[str, Any], also: Mapping[str, Any]
) -> list[str]:
    """Keys of `values` that are not known and not neutral, in their order.

    form: "config" or "gguf". also: for some keys one more neutral value, which this model gives.
    Raises HardcastError for a key that makes the forward pass another one.
    """
    unknown = []
    table = known(form)
    for key, value in values.items():
        if key in table.read or key in table.harmless:
            continue
        neutral = table.changes.get(key)
        if neutral is None:
            if not _is_neutral(value, [False, ""]):
                unknown.append(key)
        elif not _is_neutral(value, [*neutral, *([also[key]] if key in also else [])]):
            only = " or ".join(str(item) for item in neutral)
            raise HardcastError(
                f"{where}: {key} is {value!r:.60}, which makes it a model that Hardcast cannot "
                f"run" + (f"; only {only} is supported" if only else "")
            )
    return unknown


def unknown_note(where: str, keys: Iterable[str]) -> str:
    """One line that names the keys nobody read."""
    names = [f"{key:.60}" for key in keys]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"{where}: passed over, for Hardcast does not know them: {', '.join(names[:NAMED])}{more}; "
        f"if one changes the forward pass, the chip is of another model"
    )


def _is_neutral(value: Any, neutral: list[Any]) -> bool:
    """Whether a value is one of the neutral ones, null or empty; a list where all its items are."""
    if value is None or value in ([], {}):
        return True
    if isinstance(value, list):
        return all(_is_neutral(item, neutral) for item in value)
    return any(_same(value, item) for item in neutral)


def _same(value: Any, item: Any) -> bool:
    """Equality of two plain values; a float32 stands for the number that was rounded to it."""
    if isinstance(value, bool) or isinstance(item, bool):
        return value is item
    if isinstance(value, int | float) and isinstance(item, int | float):
        return math.isclose(value, item, rel_tol=1e-6)
    return bool(value == item)
