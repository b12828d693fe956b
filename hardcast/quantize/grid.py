"""Float grids to the chip's weight form: integer group scales under one multiplier a row.

A grid says w = scale * code + minimum for each group, with float scale and minimum. The chip
has w = M 2^-e (s q + m) with an 8-bit M a row and 8-bit s, 16-bit m a group. The row's unit
M 2^-e is chosen first, and s and m are rounded against it, so M's coarseness is absorbed.
Only IEEE elementwise arithmetic is used here (no libm, no BLAS): the same bytes everywhere.
"""

from __future__ import annotations

import numpy as np

from hardcast.image.matrix import MOST_SHIFT, Matrix, pack_codes

SCALE_MAX = 255  # 8-bit group scales
OFFSET_MAX = 32767
ROW_SUM_BITS = 25  # of a row's sum of |integers|, which golden/bounds.py insists on
ZERO_ROW_SHIFT = 24  # for a row of zeros any unit would do


def row_units(
    largest: np.ndarray, most: np.ndarray | int = SCALE_MAX
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smallest M * 2^-e >= largest / most with M in 128..255, for each row.

    largest: float64[out], >= 0; most: what the largest scale may become, see scale_limit.
    Returns (M uint8, e int16, unit float64).
    """
    target = largest / most
    _, exponent = np.frexp(target)  # target = mantissa * 2^exponent, mantissa in [0.5, 1)
    shift = 8 - exponent
    multiplier = np.ceil(np.ldexp(target, shift))
    carried = multiplier > SCALE_MAX
    multiplier = np.where(carried, 128, multiplier)
    shift = np.where(carried, shift - 1, shift)
    tiny = shift > MOST_SHIFT  # a row of (nearly) zeros: any unit as small would do
    multiplier, shift = np.where(tiny, 128, multiplier), np.where(tiny, MOST_SHIFT, shift)
    zero = largest == 0
    multiplier, shift = np.where(zero, 128, multiplier), np.where(zero, ZERO_ROW_SHIFT, shift)
    return (
        multiplier.astype(np.uint8),
        shift.astype(np.int16),
        np.ldexp(multiplier.astype(np.float64), -shift),
    )


def scale_limit(total: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """The largest group scale of each row with which its integers' sum fits an accumulator.

    total: float64[out], sum of |w| of a row; largest: float64[out], its largest step. A row's
    integers are w / unit, so their sum is total / largest times what the largest scale becomes.
    SCALE_MAX but for long rows of wide codes; a tenth of the room is left to rounding.
    """
    room = 0.9 * (1 << ROW_SUM_BITS)
    return np.clip(np.floor(room * largest / np.maximum(total, 1e-300)), 1, SCALE_MAX)


def from_grid4(
    name: str,
    codes: np.ndarray,
    scale: np.ndarray,
    minimum: np.ndarray,
    group_size: int,
    factor: float,
) -> Matrix:
    """A 4-bit grid whose codes are kept exactly.

    codes: uint8[out, in] in 0..15; scale, minimum: float[out, groups]; factor multiplies every
    weight (log2(e)/sqrt(head_dim) in q_proj, 1 elsewhere).
    Rounding: s, m to nearest multiple of the row's unit.
    """
    negative = scale < 0  # Q4_0 stores scales of either sign: turn the codes round
    if negative.any():
        spread = np.repeat(negative, group_size, axis=1)[:, : codes.shape[1]]
        codes = np.where(spread, 15 - codes, codes).astype(np.uint8)
        minimum = np.where(negative, minimum + 15 * scale, minimum)
        scale = np.abs(scale)
    scale = scale.astype(np.float64) * factor
    minimum = minimum.astype(np.float64) * factor
    largest = np.maximum(scale, np.abs(minimum) * (SCALE_MAX / OFFSET_MAX)).max(axis=1)
    multiplier, shift, unit = row_units(largest)
    scales = np.rint(scale / unit[:, None]).astype(np.uint8)
    offsets = np.rint(minimum / unit[:, None]).astype(np.int16)
    return Matrix(
        name,
        codes.shape[0],
        codes.shape[1],
        bits=4,
        planes=1,
        group_size=group_size,
        codebook=np.arange(16, dtype=np.int16),
        codes=pack_codes(codes, 4)[None],
        scales=scales,
        offsets=offsets,
        row_multiplier=multiplier,
        row_shift=shift,
    )


def from_grid8(
    name: str, values: np.ndarray, scale: np.ndarray, group_size: int, factor: float
) -> Matrix:
    """An 8-bit symmetric grid, two planes of 4 bits, values kept exactly.

    values: int8[out, in]; scale: float[out, groups].
    """
    negative = scale < 0
    if negative.any():
        spread = np.repeat(negative, group_size, axis=1)[:, : values.shape[1]]
        flipped = np.where(spread, -values.astype(np.int16), values)
        values = np.clip(flipped, -128, 127).astype(np.int8)
        scale = np.abs(scale)
    scale = scale.astype(np.float64) * factor
    sizes = np.add.reduceat(np.abs(values.astype(np.int32)), _starts(values, group_size), axis=1)
    largest = scale.max(axis=1)
    limit = scale_limit((sizes * scale).sum(axis=1), largest)
    multiplier, shift, unit = row_units(largest, limit)
    code = (values.astype(np.int16) + 128).astype(np.uint8)
    return Matrix(
        name,
        values.shape[0],
        values.shape[1],
        bits=4,
        planes=2,
        group_size=group_size,
        codebook=np.arange(-8, 8, dtype=np.int16),
        codes=np.stack([pack_codes(code >> 4, 4), pack_codes(code & 15, 4)]),
        scales=np.rint(scale / unit[:, None]).astype(np.uint8),
        offsets=None,
        row_multiplier=multiplier,
        row_shift=shift,
    )


def _starts(values: np.ndarray, group_size: int) -> np.ndarray:
    """First column of each group."""
    return np.arange(0, values.shape[1], group_size)
