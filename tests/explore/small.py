"""A small search: SmolLM2 on one node, a few hundred points."""

from __future__ import annotations

from functools import cache

from hardcast.chip.parameters import get_preset
from hardcast.chip.subject import Subject, open_subject
from hardcast.economics.quote import priced_assumptions
from hardcast.explore.evaluate import Task
from hardcast.explore.space import Space, Value, standard_space

PRESET = get_preset("smollm2-fast")


@cache
def subject(recipe: str = PRESET.recipe) -> Subject:
    return open_subject("smollm2-135m", recipe)


def space(**lists: tuple[Value, ...]) -> Space:
    """The standard space with a few values an axis, or those that are given."""
    shape = subject().program.shape
    standard = standard_space(shape, PRESET, ["n6"], [PRESET.recipe]).lists
    few: dict[str, tuple[Value, ...]] = {
        "dies": ("fit", "2x1"),
        "columns": (8, 16),
        "tile_rows": (32, 128),
        "slices": (3, 9, 12),
        "users": (1, 4),
        "positions": (4, 8),
    }
    return Space({**standard, **few, **lists})


def task(position: int = 100, **lists: tuple[Value, ...]) -> Task:
    """A search of `space`."""
    made = space(**lists)
    nodes = {str(node): priced_assumptions(str(node)) for node in made.lists["node"]}
    subjects = {str(recipe): subject(str(recipe)) for recipe in made.lists["recipe"]}
    return Task(made, subjects, nodes, position, systems=10_000)
