"""What the tests of this room share: every kind of code, and matrices read back as real weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardcast.checkpoint.base import Grid, GridForm
from hardcast.image.matrix import Matrix
from hardcast.program.program import Program
from hardcast.quantize.code import Code

LEVELS = (-14, -9, -5, -2, 2, 5, 9, 14)
CODES = {
    **{f"symmetric {b}": Code("symmetric", b) for b in (2, 3, 4)},
    **{f"symmetric 2x{b}": Code("symmetric", b, planes=2) for b in (2, 3, 4)},
    **{f"asymmetric {b}": Code("asymmetric", b) for b in (2, 3, 4)},
    "ternary": Code("codebook", 2, codebook=(-1, 0, 1)),
    "levels": Code("codebook", 3, codebook=LEVELS),
    "skew": Code("codebook", 3, codebook=(-7, -3, -1, 0, 2, 4)),
    "wide levels": Code("codebook", 4, codebook=(-128, -90, -30, -7, 0, 1, 8, 60, 127)),
}


def unit_of(m: Matrix) -> np.ndarray:
    """float64[out, 1]: what one integer of each row is worth."""
    return (m.row_multiplier / 2.0 ** m.row_shift.astype(float))[:, None]


def real(m: Matrix) -> np.ndarray:
    """float64[out, in]: the weights that a matrix stands for."""
    return m.integers() * unit_of(m)


def spread(groups: np.ndarray, group_size: int, columns: int) -> np.ndarray:
    """[out, groups] -> [out, columns]."""
    return np.repeat(groups, group_size, axis=1)[:, :columns]


def step_of(m: Matrix) -> np.ndarray:
    """float64[out, in]: the weight that a value of 1 adds, at each weight."""
    return spread(m.scales * unit_of(m), m.group_size, m.in_features)


def minimum_of(m: Matrix) -> np.ndarray:
    """float64[out, in]: the weight of value 0."""
    if m.offsets is None:
        return np.zeros((m.out_features, m.in_features))
    return spread(m.offsets * unit_of(m), m.group_size, m.in_features)


def same(a: Matrix, b: Matrix) -> bool:
    """Whether two matrices are equal in every field."""
    for name, value in a.__dict__.items():
        if not np.array_equal(value, b.__dict__[name]):
            return False
    return True


class FloatRows:
    """A Source of one matrix without a grid, as a float checkpoint is."""

    program: Program

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        return self.weights[rows or slice(None)]

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        return None

    def grid_form(self, name: str) -> GridForm | None:
        return None


def weights_of(grid: Grid) -> np.ndarray:
    """float64[out, in]: what a stored grid stands for."""
    size, columns = grid.group_size, grid.codes.shape[1]
    minimum = 0 if grid.minimum is None else spread(grid.minimum, size, columns)
    return grid.codes * spread(grid.scale, size, columns).astype(np.float64) + minimum


class GridRows(FloatRows):
    """A Source of one matrix that stores an exact grid."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(weights_of(grid).astype(np.float32))
        self.stored = grid

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        g, part = self.stored, rows or slice(None)
        minimum = None if g.minimum is None else g.minimum[part]
        return replace(g, codes=g.codes[part], scale=g.scale[part], minimum=minimum)

    def grid_form(self, name: str) -> GridForm | None:
        return GridForm(self.stored.bits, self.stored.group_size, self.stored.codebook)
