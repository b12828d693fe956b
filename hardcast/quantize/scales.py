"""Group scales: searched for the least weighted error, then made the chip's integers.

w = M 2^-e (s v + m): the row's unit M 2^-e is the smallest whose 8-bit multiples reach the row's
largest scale; s and m are whole units. What a row's own weights would like and what the chip can
hold then differ by at most half a unit, and the rounding of the codes already sees the latter.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from hardcast.quantize.code import Code
from hardcast.quantize.grid import OFFSET_MAX, SCALE_MAX, row_units, scale_limit

SHRINK = np.linspace(0.6, 1.0, 9).astype(np.float32)  # of the scale that clips nothing
CHUNK_WEIGHTS = 1 << 17  # weights searched at a time: their copies stay in the cache
TINY = np.float32(1e-30)


@dataclass(frozen=True)
class Scales:
    """Integer scales of a matrix: step = scales * unit and offset = offsets * unit, a group.

    scales: uint8[out, groups], at least 1; offsets: int16[out, groups] or None;
    row_multiplier: uint8[out]; row_shift: int16[out]; unit: float64[out].
    """

    scales: np.ndarray
    offsets: np.ndarray | None
    row_multiplier: np.ndarray
    row_shift: np.ndarray
    unit: np.ndarray

    def replace(self, scales: np.ndarray) -> Scales:
        """The same units with other scales."""
        return dataclasses.replace(self, scales=scales)

    @property
    def steps(self) -> np.ndarray:
        """float32[out, groups]: the weight that a value of 1 adds."""
        return (self.scales * self.unit[:, None]).astype(np.float32)

    @property
    def minima(self) -> np.ndarray | None:
        """float32[out, groups]: the weight of value 0, where there are offsets."""
        if self.offsets is None:
            return None
        return (self.offsets * self.unit[:, None]).astype(np.float32)


def integer_scales(
    steps: np.ndarray, minima: np.ndarray | None, total: np.ndarray, headroom: float = 1.0
) -> Scales:
    """The chip's integers for float steps > 0 (and minima): float[out, groups] each.

    total: float64[out], the sum of |w| of each row. headroom: how much larger than the largest
    step of its row a step may still become.
    """
    steps = steps.astype(np.float64)
    largest = steps
    if minima is not None:
        largest = np.maximum(steps, np.abs(minima) * (SCALE_MAX / OFFSET_MAX))
    row = largest.max(axis=1) * headroom
    multiplier, shift, unit = row_units(row, scale_limit(total, row))
    scales = np.clip(np.rint(steps / unit[:, None]), 1, SCALE_MAX).astype(np.uint8)
    offsets = None if minima is None else np.rint(minima / unit[:, None]).astype(np.int16)
    return Scales(scales, offsets, multiplier, shift, unit)


def find_scales(
    weights: np.ndarray,
    importance: np.ndarray | None,
    code: Code,
    pool: Executor | None = None,
) -> Scales:
    """Scales of each group by search: the shrink with the least error sum h (w - step v)^2.

    weights: float32[out, in]; importance: float32[in], h above (the Hessian's diagonal), or None
    for all alike. Groups need not divide `in`: the last one may be short. pool: threads.
    """
    rows = max(CHUNK_WEIGHTS // weights.shape[1], 1)
    chunks = [weights[first : first + rows] for first in range(0, len(weights), rows)]

    def search(part: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return _search(part, importance, code)

    found = list(pool.map(search, chunks) if pool and len(chunks) > 1 else map(search, chunks))
    steps = np.concatenate([steps for steps, _ in found])
    minima = [minimum for _, minimum in found if minimum is not None]
    total = np.abs(weights).sum(axis=1, dtype=np.float64)
    return integer_scales(steps, np.concatenate(minima) if minima else None, total)


def coarse_scales(weights: np.ndarray, code: Code, headroom: float) -> Scales:
    """The scales that clip nothing, under units with room for larger ones: where to search from.

    weights: float32[out, in]; code: without offsets. headroom: see integer_scales.
    """
    starts = np.arange(0, weights.shape[1], code.group(weights.shape[1]))
    sizes = np.abs(weights)
    largest = np.maximum.reduceat(sizes, starts, axis=1)
    steps = np.maximum(largest / np.float32(code.reach), TINY)
    return integer_scales(steps, None, sizes.sum(axis=1, dtype=np.float64), headroom)


@np.errstate(over="ignore", invalid="ignore")  # a group without range, or one too large to square
def _search(
    weights: np.ndarray, importance: np.ndarray | None, code: Code
) -> tuple[np.ndarray, np.ndarray | None]:
    rows, columns = weights.shape
    size = code.group(columns)
    groups = -(-columns // size)
    padding = groups * size - columns
    w = np.pad(weights, ((0, 0), (0, padding))).reshape(rows, groups, size)
    valid = np.pad(np.ones(columns, np.float32), (0, padding)).reshape(1, groups, size)
    h = valid
    if importance is not None:
        h = np.pad(importance.astype(np.float32), (0, padding)).reshape(1, groups, size)
    if code.kind == "asymmetric":
        low = np.where(valid > 0, w, np.inf).min(axis=2)
        high = np.where(valid > 0, w, -np.inf).max(axis=2)
        # Halves first: what two finite weights are apart may be more than float32 holds.
        middle, largest = low / 2 + high / 2, (high / 2 - low / 2) / (code.values[-1] / 2)
    else:
        middle, largest = None, np.abs(w).max(axis=2) / code.reach
    largest = np.maximum(largest, TINY)
    best = np.full((rows, groups), np.inf, np.float32)
    steps = largest.copy()
    for shrink in SHRINK:
        step = largest * shrink
        x = w / step[:, :, None]
        if middle is not None:
            x -= (middle / step - code.values[-1] / 2)[:, :, None]
        error = code.nearest(x)
        error -= x
        np.square(error, out=error)
        error *= h
        total = error.sum(axis=2) * np.square(step)
        better = total < best
        np.copyto(best, total, where=better)
        np.copyto(steps, step, where=better)
    if middle is None:
        return steps, None
    return steps, middle - steps * (code.values[-1] / 2)


def spread(groups: np.ndarray, code: Code, columns: int) -> np.ndarray:
    """[out, groups] -> [out, columns]: a group's figure at each of its weights."""
    return np.repeat(groups, code.group(columns), axis=1)[:, :columns]
