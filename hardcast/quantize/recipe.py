"""What becomes of each matrix, by its role: a table, so that a new recipe is a new entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hardcast.checkpoint.base import Grid
from hardcast.errors import HardcastError
from hardcast.image.matrix import Matrix, stack_rows
from hardcast.quantize import grid as grids

WIDE = ("embed_tokens", "lm_head")  # roles that `4bit` gives two planes
CHUNK_WEIGHTS = 1 << 22  # weights quantised at a time: bounds memory, whatever the matrix


@dataclass(frozen=True)
class Recipe:
    """name: as given to --recipe. bits: of one plane. group_size: inputs that share a scale."""

    name: str
    bits: int
    group_size: int

    def planes(self, matrix: str) -> int:
        """1 or 2, by the matrix's role (its name without the layer)."""
        return 2 if matrix.rpartition(".")[2] in WIDE else 1


RECIPES = {"4bit": Recipe("4bit", bits=4, group_size=32)}


def get(name: str) -> Recipe:
    """Raises HardcastError listing the recipes there are."""
    if name not in RECIPES:
        raise HardcastError(f"recipe {name!r} is not known; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


class Weights(Protocol):
    """Where rows of one matrix come from (a tensor of a checkpoint)."""

    def grid(self, rows: slice) -> Grid | None: ...

    def tensor(self, rows: slice) -> np.ndarray: ...


def quantize_matrix(
    recipe: Recipe, name: str, shape: tuple[int, int], source: Weights, factor: float
) -> Matrix:
    """One matrix in the chip's form: on its own grid where the checkpoint stores a fitting one.

    shape: (out_features, in_features). factor: multiplies every weight. Rows are independent,
    so they are taken a chunk at a time.
    """
    step = max(CHUNK_WEIGHTS // shape[1], 1)
    chunks = [slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]
    quantise = _wide if recipe.planes(name) == 2 else _narrow
    return stack_rows([quantise(recipe, name, source, rows, factor) for rows in chunks])


def _wide(recipe: Recipe, name: str, source: Weights, rows: slice, factor: float) -> Matrix:
    stored = source.grid(rows)
    if stored is not None and stored.bits == 8:
        return grids.from_grid8(name, stored.codes, stored.scale, stored.group_size, factor)
    return grids.round_to_grid8(name, source.tensor(rows), recipe.group_size, factor)


def _narrow(recipe: Recipe, name: str, source: Weights, rows: slice, factor: float) -> Matrix:
    stored = source.grid(rows)
    if stored is not None and stored.bits == 4:
        assert stored.minimum is not None
        return grids.from_grid4(
            name, stored.codes, stored.scale, stored.minimum, stored.group_size, factor
        )
    return grids.round_to_grid4(name, source.tensor(rows), recipe.group_size, factor)
