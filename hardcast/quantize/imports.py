"""A stored grid kept as it is: which ones a recipe's code has room for, and the matrix that comes.

The grid's own form counts, not the recipe's: a 4-bit grid has one plane where the recipe allows
two. What is not kept is rounded as any other matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hardcast.checkpoint.base import Grid, GridForm
from hardcast.image.matrix import Matrix, stack_rows
from hardcast.quantize import grid as grids
from hardcast.quantize.code import Code
from hardcast.quantize.folding import Source

PIECE_WEIGHTS = 1 << 22  # weights in memory as floats at a time
INT8 = 8  # bits of a codebook's values themselves


def pieces(shape: tuple[int, int]) -> Iterator[slice]:
    """The rows of a matrix, (out_features, in_features), a few million weights at a time."""
    step = max(PIECE_WEIGHTS // shape[1], 1)
    for first in range(0, shape[0], step):
        yield slice(first, min(first + step, shape[0]))


def keeps(form: GridForm | None, code: Code) -> bool:
    """Whether a matrix stored so is sure to be kept under a recipe's code.

    A codebook that is no mirror image of itself may have groups of negative scale: one plane keeps
    it only if there are none, two planes always do.
    """
    ways = _ways(form, code)
    if form is None or not ways:
        return False
    return ways[-1] is _two_planes or form.codebook == tuple(-v for v in form.codebook[::-1])


def import_matrix(
    name: str, shape: tuple[int, int], source: Source, code: Code, factor: float
) -> Matrix | None:
    """A matrix on the grid that the checkpoint stores, times `factor` > 0.

    shape: (out_features, in_features). None if there is no grid, or none that `code` has room for.
    """
    for way in _ways(source.grid_form(name), code):
        parts: list[Matrix] = []
        for rows in pieces(shape):
            grid = source.grid(name, rows)
            part = None if grid is None else way(name, grid, code.bits, factor)
            if part is None:
                break
            parts.append(part)
        else:
            return stack_rows(parts)
    return None


Way = Callable[[str, Grid, int, float], Matrix | None]


def _ways(form: GridForm | None, code: Code) -> list[Way]:
    """How a grid may be kept, the smaller way first."""
    if form is None or form.group_size % 32:
        return []
    most = 2 * code.bits if code.planes == 2 else code.bits
    ways: list[Way] = []
    if form.bits <= code.bits:
        ways.append(_one_plane)
    if (not ways or form.codebook) and (INT8 if form.codebook else form.bits) <= most:
        ways.append(_two_planes)
    return ways


def _one_plane(name: str, grid: Grid, bits: int, factor: float) -> Matrix | None:
    if grid.minimum is None:
        return grids.codebook_grid(name, grid, factor, bits)
    return grids.offset_grid(name, grid, factor, bits)


def _two_planes(name: str, grid: Grid, bits: int, factor: float) -> Matrix | None:
    if grid.minimum is None:
        return grids.signed_grid(name, grid, factor, bits)
    return grids.offset_grid(name, grid, factor, bits, planes=2)
