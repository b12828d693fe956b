"""What a recipe comes to for one model: which matrices keep their grid, which are calibrated.

Also how long that takes, which people want to know before it begins.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from hardcast.checkpoint.base import GridForm
from hardcast.program.program import Program
from hardcast.program.step import Embed, Matvec
from hardcast.quantize import recipe as recipes
from hardcast.quantize.imports import keeps
from hardcast.quantize.recipe import GPTQ, Recipe

Forms = Callable[[str], GridForm | None]


@dataclass(frozen=True)
class Settled:
    """The recipe that counts for a model. notes: what the user should know of it, a line each.

    calibrated: (out_features, in_features) of the matrices that it calibrates.
    """

    recipe: Recipe
    notes: list[str]
    calibrated: list[tuple[int, int]]


def settle(recipe: Recipe, program: Program, grid_form: Forms) -> Settled:
    """What a recipe comes to. grid_form: the stored grid of a matrix by its name in the image.

    Matrices of two planes do not decide whether another recipe counts: they lose little either way.
    """
    products = _products(program)
    kept = {
        name
        for name in products
        if recipe.import_grids and keeps(grid_form(name), recipe.code(name))
    }
    shapes = program.matrices()
    left = [shapes[name] for name in products if name not in kept and recipe.rounding == GPTQ]
    if not (recipe.nothing_to_round or recipe.no_grids):
        return Settled(recipe, [], left)
    narrow = [name for name in products if recipe.code(name).planes == 1]
    count = len(kept.intersection(narrow))
    if count == len(narrow) and recipe.nothing_to_round:
        other, why = recipe.nothing_to_round, "every matrix keeps its own grid"
    elif not count and recipe.no_grids:
        other, why = recipe.no_grids, "no matrix has a grid that it keeps"
    else:
        line = f"{count} of {len(narrow)} matrices keep their own grid, the others are calibrated"
        return Settled(recipe, [f"recipe {recipe.name}: {line}"], left)
    found = settle(recipes.get(other), program, grid_form)
    line = f"recipe {recipe.name}: {why}, so it is {other}"
    return replace(found, notes=[line, *found.notes])


def expectation(shapes: list[tuple[int, int]], cores: int) -> list[str]:
    """What calibrating matrices of these shapes will take: a line, or none for seconds."""
    figures = _figures()
    weights = sum(rows * columns for rows, columns in shapes)
    work = sum(
        rows * columns * (figures["a_million"] + columns * figures["and_a_column"])
        for rows, columns in shapes
    )
    minutes = round(work / 1e6 * figures["cores"] / cores / 60)
    if minutes == 0:
        return []
    return [
        f"calibrating {weights / 1e6:,.0f} million weights (GPTQ): about {minutes} min on "
        f"{cores} cores"
    ]


def _products(program: Program) -> list[str]:
    """Matrices that MATVEC reads and EMBED does not: those that are calibrated."""
    embeddings = {step.matrix for step in program.steps if isinstance(step, Embed)}
    found = [step.matrix for step in program.steps if isinstance(step, Matvec)]
    return [name for name in dict.fromkeys(found) if name not in embeddings]


@cache
def _figures() -> dict[str, float]:
    text = resources.files(__package__).joinpath("duration.toml").read_text("utf-8")
    return tomllib.loads(text)
