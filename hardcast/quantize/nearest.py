"""Without calibration: a stored grid kept as it is, or every weight rounded to nearest.

Rows are independent, so a matrix goes in pieces: only its codes are ever in memory as a whole.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

from hardcast.image.matrix import Matrix, stack_rows
from hardcast.quantize.code import Code
from hardcast.quantize.folding import Source
from hardcast.quantize.grid import times
from hardcast.quantize.imports import import_matrix, pieces
from hardcast.quantize.recipe import Recipe
from hardcast.quantize.scales import CHUNK_WEIGHTS, Scales, find_scales, spread


def quantize_matrix(
    recipe: Recipe,
    name: str,
    shape: tuple[int, int],
    source: Source,
    factor: float,
    pool: Executor | None = None,
) -> Matrix:
    """One matrix in the chip's form: on its own grid where the recipe says so and it has one.

    shape: (out_features, in_features). factor > 0: multiplies every weight. pool: threads to use.
    """
    code = recipe.code(name)
    kept = import_matrix(name, shape, source, code, factor) if recipe.import_grids else None
    if kept is not None:
        return kept
    return stack_rows(
        [
            round_nearest(name, source.tensor(name, rows), code, factor, pool)
            for rows in pieces(shape)
        ]
    )


def round_nearest(
    name: str, weights: np.ndarray, code: Code, factor: float, pool: Executor | None = None
) -> Matrix:
    """A matrix whose scales are searched and whose weights then go to the nearest value.

    weights: float32[out, in]; factor > 0: multiplies every weight. pool: threads to use.
    """
    scales = find_scales(weights, None, code, pool)
    rows = max(CHUNK_WEIGHTS // weights.shape[1], 1)
    steps, minima = scales.steps, scales.minima

    def round_rows(first: int) -> np.ndarray:
        part = slice(first, first + rows)
        minimum = None if minima is None else minima[part]
        return round_values(weights[part], steps[part], minimum, code).astype(np.int16)

    starts = range(0, len(weights), rows)
    values = np.concatenate(
        list(pool.map(round_rows, starts) if pool and len(starts) > 1 else map(round_rows, starts))
    )
    return assemble(name, values, scales, code, factor)


def round_values(
    weights: np.ndarray, steps: np.ndarray, minima: np.ndarray | None, code: Code
) -> np.ndarray:
    """float32[out, in], each a value of the code. steps, minima: float32[out, groups]."""
    columns = weights.shape[1]
    if minima is not None:
        weights = weights - spread(minima, code, columns)
    return code.nearest(weights / spread(steps, code, columns))


def assemble(name: str, values: np.ndarray, scales: Scales, code: Code, factor: float) -> Matrix:
    """The matrix of values under scales; `factor` goes into each row's multiplier and shift."""
    multiplier, shift = scales.row_multiplier, scales.row_shift
    matrix = code.matrix(name, values, scales.scales, scales.offsets, multiplier, shift)
    return times(matrix, scales.unit, factor)
