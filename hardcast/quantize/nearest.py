"""Without calibration: a stored grid kept as it is, or every weight rounded to nearest.

Rows are independent, so a matrix goes in pieces: only its codes are ever in memory as a whole.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

from hardcast.image.matrix import MOST_SHIFT, Matrix, stack_rows
from hardcast.quantize import grid as grids
from hardcast.quantize.code import Code
from hardcast.quantize.folding import Source
from hardcast.quantize.recipe import Recipe
from hardcast.quantize.scales import CHUNK_WEIGHTS, Scales, find_scales, spread

PIECE_WEIGHTS = 1 << 22  # weights in memory as floats at a time


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
    step = max(PIECE_WEIGHTS // shape[1], 1)
    parts, code = [], recipe.code(name)
    for first in range(0, shape[0], step):
        rows = slice(first, min(first + step, shape[0]))
        part = _import(code, name, source, rows, factor) if recipe.import_grids else None
        if part is None:
            part = round_nearest(name, source.tensor(name, rows), code, factor, pool)
        parts.append(part)
    return stack_rows(parts)


def _import(code: Code, name: str, source: Source, rows: slice, factor: float) -> Matrix | None:
    """Rows on the grid that the checkpoint stores, if the code has room for that grid."""
    stored = source.grid(name, rows)
    if stored is None:
        return None
    if stored.bits == 8 and (code.bits, code.planes) == (4, 2):
        return grids.from_grid8(name, stored.codes, stored.scale, stored.group_size, factor)
    if stored.bits == 4 and (code.kind, code.bits) == ("asymmetric", 4):
        assert stored.minimum is not None
        minimum, size = stored.minimum, stored.group_size
        return grids.from_grid4(name, stored.codes, stored.scale, minimum, size, factor)
    return None


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
    """The matrix of values under scales; `factor` goes into each row's multiplier and shift.

    A factor that is no power of two moves the multiplier by at most 1/256 of it; what that loses
    is far below an 8-bit group scale's own step.
    """
    multiplier, shift = scales.row_multiplier, scales.row_shift
    if factor != 1.0:
        unit = scales.unit * factor
        exponent = np.frexp(unit)[1]  # unit = mantissa 2^exponent, mantissa in [0.5, 1)
        scaled = np.rint(np.ldexp(unit, 8 - exponent))
        carried = scaled == 256
        multiplier = np.where(carried, 128, scaled).astype(np.uint8)
        # A row of (nearly) zeros has the least unit already, and keeps it.
        shift = np.minimum(8 - exponent - carried, MOST_SHIFT).astype(np.int16)
    return code.matrix(name, values, scales.scales, scales.offsets, multiplier, shift)
