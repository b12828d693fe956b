"""The commercial figures (figures/*.toml): what package, card, design and data centre cost."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from hardcast.technology.assumptions import Assumptions
from hardcast.technology.figure import Figure, load_figures


@cache
def cost_figures() -> Assumptions:
    """Every figure of figures/*.toml, all called cost.something.

    Joined with a node's they are what this room's functions read:
    get_node("n6").joined(cost_figures()).
    Raises HardcastError for a figure without value, unit, kind or source.
    """
    figures: dict[str, Figure] = {}
    with resources.as_file(resources.files(__package__) / "figures") as folder:
        for path in sorted(Path(folder).glob("*.toml")):
            figures |= load_figures(path)[1]
    return Assumptions(figures)
