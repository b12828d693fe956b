"""The written modules of sv/, whichever folder of it they lie in."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.abc import Traversable


@cache
def modules() -> dict[str, str]:
    """Text of every module by its file's name (`hc_tile.sv`), in the order of the names.

    The folders below sv/ are for readers: a module has one name in the whole chip, and what is
    emitted lies in one folder.
    """
    found: dict[str, str] = {}
    waiting: list[Traversable] = [resources.files(__package__).joinpath("sv")]
    while waiting:
        entry = waiting.pop()
        if entry.is_dir():
            waiting += entry.iterdir()
        elif entry.name.endswith(".sv"):
            found[entry.name] = entry.read_text("utf-8")
    return dict(sorted(found.items()))
