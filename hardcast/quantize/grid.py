"""Float grids to the chip's weight form: integer group scales under one multiplier a row.

A grid says w = scale * code + minimum for each group, with float scale and minimum. The chip
has w = M 2^-e (s q + m) with an 8-bit M a row and 8-bit s, 16-bit m a group. The row's unit
M 2^-e is chosen first, and s and m are rounded against it, so M's coarseness is absorbed.
Only IEEE elementwise arithmetic is used here (no libm, no BLAS): the same bytes everywhere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardcast.checkpoint.base import Grid
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


def offset_grid(name: str, grid: Grid, factor: float, bits: int = 4, planes: int = 1) -> Matrix:
    """A grid with minima whose codes are kept exactly.

    factor: multiplies every weight (log2(e)/sqrt(head_dim) in q_proj, 1 elsewhere). bits, planes:
    of the matrix, enough for the grid's own.
    Rounding: s, m to nearest multiple of the row's unit.
    """
    assert grid.minimum is not None
    codes, scale, minimum, top = grid.codes, grid.scale, grid.minimum, (1 << grid.bits) - 1
    negative = scale < 0  # Q4_0 stores scales of either sign: turn the codes round
    if negative.any():
        codes = np.where(_spread(negative, grid), top - codes, codes).astype(np.uint8)
        minimum = np.where(negative, minimum + top * scale, minimum)
        scale = np.abs(scale)
    scale = scale.astype(np.float64) * factor
    minimum = minimum.astype(np.float64) * factor
    if planes == 2:  # values are signed there
        middle = 1 << grid.bits - 1
        values, minimum = codes.astype(np.int16) - middle, minimum + middle * scale
    largest = np.maximum(scale, np.abs(minimum) * (SCALE_MAX / OFFSET_MAX)).max(axis=1)
    limit: np.ndarray | int = SCALE_MAX
    if planes == 2:
        total = np.abs(values * _spread(scale, grid) + _spread(minimum, grid)).sum(axis=1)
        limit = scale_limit(total, largest)
    multiplier, shift, unit = row_units(largest, limit)
    return Matrix(
        name,
        codes.shape[0],
        codes.shape[1],
        bits=bits,
        planes=planes,
        group_size=grid.group_size,
        codebook=_book(bits, planes),
        codes=_two_planes(values, bits) if planes == 2 else pack_codes(codes, bits)[None],
        scales=np.rint(scale / unit[:, None]).astype(np.uint8),
        offsets=np.rint(minimum / unit[:, None]).astype(np.int16),
        row_multiplier=multiplier,
        row_shift=shift,
    )


def signed_grid(name: str, grid: Grid, factor: float, bits: int = 4) -> Matrix:
    """A grid of signed codes without minima, in two planes of `bits`, values kept exactly.

    A codebook's values are signed codes of 8 bits. factor: as in offset_grid.
    """
    values, scale = grid.codes, grid.scale
    negative = scale < 0
    if negative.any():
        flipped = np.where(_spread(negative, grid), -values.astype(np.int16), values)
        values = np.clip(flipped, -128, 127).astype(np.int8)
        scale = np.abs(scale)
    scale = scale.astype(np.float64) * factor
    multiplier, shift, unit = row_units(*_largest(values, scale, grid.group_size))
    return Matrix(
        name,
        values.shape[0],
        values.shape[1],
        bits=bits,
        planes=2,
        group_size=grid.group_size,
        codebook=_book(bits, 2),
        codes=_two_planes(values, bits),
        scales=np.rint(scale / unit[:, None]).astype(np.uint8),
        offsets=None,
        row_multiplier=multiplier,
        row_shift=shift,
    )


def codebook_grid(name: str, grid: Grid, factor: float, bits: int = 4) -> Matrix | None:
    """A grid of signed codes, or with a codebook, in one plane of `bits`; None where it has none.

    The chip's scales have no sign, and all groups share the codebook: a negative scale needs one
    that is its own mirror image. Scales that are powers of two, as MXFP4's, stay so.
    """
    values, scale = grid.codes, grid.scale
    book = np.array(grid.codebook or range(-(1 << bits - 1), 1 << bits - 1), np.int16)
    negative = scale < 0
    if negative.any():
        if not np.array_equal(book, -book[::-1]):
            return None
        values = np.where(_spread(negative, grid), -values, values)
        scale = np.abs(scale)
    scale = scale.astype(np.float64)
    largest, limit = _largest(values, scale, grid.group_size)
    if (np.frexp(scale[scale > 0])[0] == 0.5).all():
        limit = np.minimum(limit, 1 << 7)
    multiplier, shift, unit = row_units(largest, limit)
    table = np.zeros(256, np.uint8)
    table[book & 255] = np.arange(len(book))
    matrix = Matrix(
        name,
        values.shape[0],
        values.shape[1],
        bits=bits,
        planes=1,
        group_size=grid.group_size,
        codebook=np.pad(book, (0, (1 << bits) - len(book)), mode="edge"),
        codes=pack_codes(table[values.astype(np.int16) & 255], bits)[None],
        scales=np.rint(scale / unit[:, None]).astype(np.uint8),
        offsets=None,
        row_multiplier=multiplier,
        row_shift=shift,
    )
    return times(matrix, unit, factor)


def times(matrix: Matrix, unit: np.ndarray, factor: float) -> Matrix:
    """The matrix with `factor` in each row's multiplier and shift, whose unit is float64[out].

    A factor that is no power of two moves the multiplier by at most 1/256 of it; what that loses
    is far below an 8-bit group scale's own step.
    """
    if factor == 1.0:
        return matrix
    unit = unit * factor
    exponent = np.frexp(unit)[1]  # unit = mantissa 2^exponent, mantissa in [0.5, 1)
    scaled = np.rint(np.ldexp(unit, 8 - exponent))
    carried = scaled == 256
    multiplier = np.where(carried, 128, scaled).astype(np.uint8)
    # A row of (nearly) zeros has the least unit already, and keeps it.
    shift = np.minimum(8 - exponent - carried, MOST_SHIFT).astype(np.int16)
    return replace(matrix, row_multiplier=multiplier, row_shift=shift)


def _largest(
    values: np.ndarray, scale: np.ndarray, group_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The largest scale of each row, and what the chip may make of it: see scale_limit."""
    starts = np.arange(0, values.shape[1], group_size)
    sizes = np.add.reduceat(np.abs(values.astype(np.int32)), starts, axis=1)
    largest = scale.max(axis=1)
    return largest, scale_limit((sizes * scale).sum(axis=1), largest)


def _spread(groups: np.ndarray, grid: Grid) -> np.ndarray:
    """[out, groups] -> [out, in]: a group's figure at each of its weights."""
    return np.repeat(groups, grid.group_size, axis=1)[:, : grid.codes.shape[1]]


def _book(bits: int, planes: int) -> np.ndarray:
    """The values of evenly spaced codes: from 0, or of the high one of two planes around it."""
    first = -(1 << bits - 1) if planes == 2 else 0
    return np.arange(first, first + (1 << bits), dtype=np.int16)


def _two_planes(values: np.ndarray, bits: int) -> np.ndarray:
    """Packed codes of signed values: uint8[2, out, bytes]."""
    codes = (values.astype(np.int16) + (1 << 2 * bits - 1)).astype(np.uint8)
    low = (1 << bits) - 1
    return np.stack([pack_codes(codes >> bits, bits), pack_codes(codes & low, bits)])
