"""The written modules of sv/, whichever folder of it they lie in.

Most of what differs between chips is a constant of hardcast_pkg. Where few chips need other text, a
module holds both, and a chip without the need has the file as if nothing else had ever been there:

    //if switched
    text of a chip that has what `switched` names
    //else
    text of the others
    //endif

What a chip may have: `switched`, angles that change within a token; `gelu_tanh`, that gate's table;
`blocked`, norms of heads whose squares are neither one block nor two halves;
`behind`, norms behind a matrix. A module of which nothing is left is left out.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.abc import Traversable


@cache
def modules(variants: frozenset[str] = frozenset()) -> dict[str, str]:
    """Text of every module by its file's name (`hc_tile.sv`), in the order of the names.

    variants: what the chip has of what few chips have.
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
            text = _chosen(entry.read_text("utf-8"), variants)
            if text:
                found[entry.name] = text
    return dict(sorted(found.items()))


def _chosen(text: str, variants: frozenset[str]) -> str:
    """The text without its directives, and without what they leave out."""
    lines, kept, asked = [], True, False
    for line in text.splitlines(keepends=True):
        match line.split():
            case ["//if", variant]:
                kept = asked = variant in variants
            case ["//else"]:
                kept = not asked
            case ["//endif"]:
                kept = True
            case _ if kept:
                lines.append(line)
    return "".join(lines)
