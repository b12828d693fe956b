"""Float grids to the chip's integers: what is exact, and how far off the rest may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hardcast.checkpoint.base import Grid
from hardcast.errors import HardcastError
from hardcast.image.matrix import Matrix, unpack_codes
from hardcast.quantize import grid as grids
from hardcast.quantize import recipe as recipes
from hardcast.quantize.recipe import quantize_matrix

FACTORS = st.sampled_from([1.0, 1.4426950408889634 / np.sqrt(24), 3.7])


def unit_of(m: Matrix) -> np.ndarray:
    """float64[out, 1]: what one integer of each row is worth."""
    return (m.row_multiplier / 2.0 ** m.row_shift.astype(float))[:, None]


def real(m: Matrix) -> np.ndarray:
    return m.integers() * unit_of(m)


def spread(groups: np.ndarray, group_size: int, columns: int) -> np.ndarray:
    """[out, groups] -> [out, columns]."""
    return np.repeat(groups, group_size, axis=1)[:, :columns]


# A row's unit is at most 1/127 larger than its largest scale needs: M is one of 128..255.
ROW_RISE = 1 + 1 / 127


# Row units


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(1e-7, 1e4)))
def test_row_units_are_the_smallest_that_fit(largest: np.ndarray) -> None:
    multiplier, shift, unit = grids.row_units(largest)
    assert (multiplier.dtype, shift.dtype) == (np.uint8, np.int16)
    assert (multiplier >= 128).all()
    np.testing.assert_array_equal(unit, multiplier / 2.0 ** shift.astype(float))
    assert (unit * 255 >= largest * (1 - 1e-15)).all()
    assert (unit * 255 <= largest * ROW_RISE).all()


def test_row_units_at_their_edges() -> None:
    exact = np.array([255 * 255 * 2.0**-20, 255 * 128 * 2.0**-20, 255 * 255.5 * 2.0**-20, 0, 1e-30])
    multiplier, shift, _ = grids.row_units(exact)
    assert multiplier.tolist() == [255, 128, 128, 128, 128]
    assert shift.tolist() == [20, 20, 19, grids.ZERO_ROW_SHIFT, 40]


# Exact imports


@st.composite
def grid4(draw: st.DrawFn, symmetric: bool) -> Grid:
    """A 4-bit grid as a file stores it; symmetric: Q4_0, whose scales have either sign."""
    rows, groups = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    codes = rng.integers(0, 16, (rows, groups * 32), dtype=np.uint8)
    scale = (rng.random((rows, groups)) + 0.01) * 2.0 ** rng.integers(-3, 1, (rows, groups)) / 50
    if symmetric:
        scale *= rng.choice([-1, 1], scale.shape)
        minimum = -8 * scale
    else:
        minimum = -(rng.random(scale.shape) * 18 - 2) * scale
    return Grid(4, codes, scale.astype(np.float32), minimum.astype(np.float32), 32)


def weights_of(grid: Grid) -> np.ndarray:
    minimum = 0 if grid.minimum is None else spread(grid.minimum, 32, grid.codes.shape[1])
    scale = spread(grid.scale, 32, grid.codes.shape[1]).astype(np.float64)
    return grid.codes * scale + minimum


@given(st.booleans().flatmap(grid4), FACTORS)
def test_a_4_bit_grid_keeps_its_codes(grid: Grid, factor: float) -> None:
    """Scale and minimum are rounded to the row's unit, each half of it off at most."""
    assert grid.minimum is not None
    m = grids.from_grid4("w", grid.codes, grid.scale, grid.minimum, 32, factor)
    m.check()
    codes = unpack_codes(m.codes[0], 4, m.in_features)
    negative = spread(grid.scale < 0, 32, m.in_features)
    np.testing.assert_array_equal(codes, np.where(negative, 15 - grid.codes, grid.codes))
    expected = weights_of(grid) * factor
    tolerance = unit_of(m) * (codes / 2 + 0.5) * (1 + 1e-5)
    assert (np.abs(real(m) - expected) <= tolerance).all()
    # and that is little: the row's largest step is 255 units, or its largest minimum 32767.
    largest = np.maximum(np.abs(grid.scale), np.abs(grid.minimum) * 255 / 32767).max(axis=1)
    assert (unit_of(m)[:, 0] <= largest * factor / 255 * ROW_RISE * (1 + 1e-6)).all()


def test_a_negative_scale_turns_its_codes_round() -> None:
    """Q4_0 writes w = d (q - 8) with d of either sign; the chip's scales have none."""
    codes = np.arange(32, dtype=np.uint8)[None] % 16
    scale = np.array([[-0.5]], np.float32)
    m = grids.from_grid4("w", codes, scale, -8 * scale, 32, 1.0)
    np.testing.assert_allclose(real(m), -0.5 * (codes.astype(float) - 8), atol=1e-2)
    assert m.scales[0, 0] >= 253


@given(st.integers(0, 2**32 - 1), FACTORS, st.booleans())
def test_an_8_bit_grid_keeps_its_values(seed: int, factor: float, negative: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-127, 128, (4, 96)).astype(np.int8)
    scale = (rng.random((4, 3)) + 0.01).astype(np.float32) * (-1 if negative else 1)
    m = grids.from_grid8("w", values, scale, 32, factor)
    m.check()
    assert m.offsets is None and (m.bits, m.planes) == (4, 2)
    np.testing.assert_array_equal(m.values(), -values if negative else values)
    expected = values * spread(scale, 32, 96).astype(float) * factor
    assert (np.abs(real(m) - expected) <= unit_of(m) * np.abs(values) / 2 * (1 + 1e-5)).all()


def test_8_bits_reach_both_ends() -> None:
    values = np.array([[-128, 127, 0, -1] * 8], np.int8)
    m = grids.from_grid8("w", values, np.array([[0.01]], np.float32), 32, 1.0)
    np.testing.assert_array_equal(m.values(), values)


# Rounding to nearest


@st.composite
def float_weights(draw: st.DrawFn) -> np.ndarray:
    """float32[out, in], any in_features, groups of very different size within a row."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 140))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    w = rng.standard_normal((rows, columns)) + draw(st.sampled_from([0.0, 3.0]))
    size = 2.0 ** rng.integers(-draw(st.integers(0, 12)), 1, (rows, -(-columns // 32)))
    scale = 2.0 ** draw(st.integers(-12, 6))
    return (w * spread(size, 32, columns) * scale).astype(np.float32)


def groups_of(w: np.ndarray, group_size: int) -> list[slice]:
    return [slice(a, min(a + group_size, w.shape[1])) for a in range(0, w.shape[1], group_size)]


@given(float_weights(), st.sampled_from([32, 64]), FACTORS)
def test_4_bit_rounding(w: np.ndarray, group_size: int, factor: float) -> None:
    """Half a step; a range that the rounded scale and minimum miss adds 8 units at most.

    A unit is 1/255 of the row's largest step, so those 8 are 1/32 of the row's own half step.
    """
    m = grids.round_to_grid4("w", w, group_size, factor)
    m.check()
    assert m.groups == -(-w.shape[1] // group_size)
    error = np.abs(real(m) - w.astype(np.float64) * factor)
    unit = unit_of(m)
    step = spread(np.maximum(m.scales, 1), group_size, w.shape[1]) * unit
    assert (error <= step / 2 + 8.5 * unit).all()
    exact = np.stack([np.ptp(w[:, g], axis=1) / 15 for g in groups_of(w, group_size)], 1) * factor
    lowest = np.stack([np.abs(w[:, g].min(axis=1)) for g in groups_of(w, group_size)], 1) * factor
    largest = np.maximum(exact, lowest * 255 / 32767).max(axis=1)
    assert (unit[:, 0] <= np.maximum(largest / 255 * ROW_RISE * (1 + 1e-6), 2.0**-33)).all()


@given(float_weights(), st.sampled_from([32, 64]), FACTORS)
def test_8_bit_rounding(w: np.ndarray, group_size: int, factor: float) -> None:
    """Half a step, and what a scale rounded down cannot reach: 127 half units."""
    m = grids.round_to_grid8("w", w, group_size, factor)
    m.check()
    error = np.abs(real(m) - w.astype(np.float64) * factor)
    step = spread(np.maximum(m.scales, 1), group_size, w.shape[1]) * unit_of(m)
    assert (error <= step / 2 + 64 * unit_of(m)).all()
    # Where the group is the row's largest, nothing is lost beyond that half step.
    first = m.scales == m.scales.max(axis=1, keepdims=True)
    full = spread(first & (m.scales >= 254), group_size, w.shape[1])
    assert (error[full] <= (step * (0.5 + 0.26))[full]).all()


@given(float_weights())
def test_a_rounded_grid_is_taken_as_it_is(w: np.ndarray) -> None:
    """What the chip holds, read as floats, imports without any further loss."""
    m = grids.round_to_grid4("w", w, 32, 1.0)
    again = grids.round_to_grid4("w", real(m).astype(np.float32), 32, 1.0)
    step = spread(np.maximum(again.scales, 1), 32, w.shape[1]) * unit_of(again)
    assert (np.abs(real(again) - real(m)) <= step / 2 + 8.5 * unit_of(again)).all()


def test_short_last_groups_do_not_count_their_padding() -> None:
    """All weights near 5: a zero of the padding would ruin the last group's range."""
    w = np.full((3, 70), 5, np.float32) + np.arange(70, dtype=np.float32) / 100
    m = grids.round_to_grid4("w", w, 64, 1.0)
    assert m.groups == 2
    assert np.abs(real(m) - w)[:, 64:].max() < 0.01


@pytest.mark.parametrize("rounder", [grids.round_to_grid4, grids.round_to_grid8])
class TestExtremes:
    def test_zero_rows(self, rounder: Any) -> None:
        w = np.zeros((3, 64), np.float32)
        w[1] = 1.5
        m = rounder("w", w, 32, 1.0)
        m.check()
        assert not m.integers()[[0, 2]].any()
        np.testing.assert_allclose(real(m)[1], 1.5, rtol=1e-2)

    def test_zero_groups(self, rounder: Any) -> None:
        w = np.zeros((1, 96), np.float32)
        w[0, 32:64] = np.linspace(-1, 1, 32)
        found = real(rounder("w", w, 32, 1.0))
        assert not found[0, :32].any() and not found[0, 64:].any()

    @pytest.mark.parametrize("size", [1e-10, 1e-20, 1e-38, 1.4e-45])
    def test_tiny_rows_vanish_or_keep_their_shape(self, rounder: Any, size: float) -> None:
        w = (np.linspace(-1, 1, 64)[None] * size).astype(np.float32)
        m = rounder("w", w, 32, 1.0)
        m.check()
        assert np.abs(real(m) - w).max() <= max(size / 20, 2.0**-33)

    @pytest.mark.parametrize("size", [1e5, 1e8])
    def test_large_rows_keep_their_shape(self, rounder: Any, size: float) -> None:
        w = (np.linspace(-1, 1, 64)[None] * size).astype(np.float32)
        m = rounder("w", w, 32, 1.0)
        m.check()
        assert np.abs(real(m) - w).max() <= size / 20

    @pytest.mark.parametrize("size", [1e20, 3.4e38])
    def test_huge_rows_are_refused_by_name(self, rounder: Any, size: float) -> None:
        w = (np.linspace(-1, 1, 64)[None] * size).astype(np.float32)
        with pytest.raises(HardcastError, match="layers.7.o_proj: row_shift is outside"):
            rounder("layers.7.o_proj", w, 32, 1.0).check()

    def test_one_column(self, rounder: Any) -> None:
        w = np.array([[0.5], [-0.25], [0]], np.float32)
        found = real(rounder("w", w, 32, 1.0))
        np.testing.assert_allclose(found, w, rtol=1e-2)


# Recipes


class FloatRows:
    """A source without a grid, as a float checkpoint is."""

    def __init__(self, w: np.ndarray) -> None:
        self.w = w

    def grid(self, rows: slice) -> Grid | None:
        return None

    def tensor(self, rows: slice) -> np.ndarray:
        return self.w[rows]


class GridRows(FloatRows):
    """A source that stores an exact grid."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(weights_of(grid).astype(np.float32))
        self.stored = grid

    def grid(self, rows: slice) -> Grid | None:
        g = self.stored
        minimum = None if g.minimum is None else g.minimum[rows]
        return Grid(g.bits, g.codes[rows], g.scale[rows], minimum, g.group_size)


def assert_same(a: Matrix, b: Matrix) -> None:
    for name, value in a.__dict__.items():
        np.testing.assert_array_equal(value, b.__dict__[name], name)


@pytest.mark.parametrize("name", ["layers.0.q_proj", "embed_tokens", "lm_head"])
def test_rows_in_chunks_equal_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    w = np.random.default_rng(0).standard_normal((37, 70)).astype(np.float32)
    recipe = recipes.get("4bit")
    whole = quantize_matrix(recipe, name, (37, 70), FloatRows(w), 1.1)
    assert whole.planes == (1 if "q_proj" in name else 2)
    for chunk in (1, 70, 5 * 70, 36 * 70 + 1):
        monkeypatch.setattr(recipes, "CHUNK_WEIGHTS", chunk)
        assert_same(quantize_matrix(recipe, name, (37, 70), FloatRows(w), 1.1), whole)


@given(grid4(symmetric=False))
def test_a_fitting_grid_is_imported(grid: Grid) -> None:
    shape = (grid.codes.shape[0], grid.codes.shape[1])
    recipe = recipes.get("4bit")
    found = quantize_matrix(recipe, "layers.0.up_proj", shape, GridRows(grid), 1.0)
    np.testing.assert_array_equal(unpack_codes(found.codes[0], 4, shape[1]), grid.codes)
    # A 4-bit grid where the recipe wants 8 bits is read as weights, and holds nearly exactly.
    wide = quantize_matrix(recipe, "lm_head", shape, GridRows(grid), 1.0)
    assert wide.planes == 2
    step = spread(np.maximum(wide.scales, 1), 32, shape[1]) * unit_of(wide)
    assert (np.abs(real(wide) - weights_of(grid)) <= step / 2 + 64 * unit_of(wide)).all()


def test_unknown_recipes_are_refused_with_the_list() -> None:
    with pytest.raises(HardcastError, match="recipe '3bit' is not known; there are: 4bit"):
        recipes.get("3bit")
