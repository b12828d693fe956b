"""Stored grids to the chip's integers: codes are kept, scales come to the row's unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hardcast.checkpoint.base import Grid, GridForm
from hardcast.checkpoint.gguf_blocks import FLOAT4, IQ4
from hardcast.image.matrix import unpack_codes
from hardcast.quantize import grid as grids
from hardcast.quantize import recipe as recipes
from hardcast.quantize.code import Code
from hardcast.quantize.imports import keeps
from hardcast.quantize.nearest import quantize_matrix
from tests.quantize.forms import GridRows, real, same, spread, unit_of, weights_of

FACTORS = st.sampled_from([1.0, 1.4426950408889634 / np.sqrt(24), 3.7])


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


@given(st.booleans().flatmap(grid4), FACTORS)
def test_a_4_bit_grid_keeps_its_codes(grid: Grid, factor: float) -> None:
    """Scale and minimum are rounded to the row's unit, each half of it off at most."""
    assert grid.minimum is not None
    m = grids.offset_grid("w", grid, factor)
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
    m = grids.offset_grid("w", Grid(4, codes, scale, -8 * scale, 32), 1.0)
    np.testing.assert_allclose(real(m), -0.5 * (codes.astype(float) - 8), atol=1e-2)
    assert m.scales[0, 0] >= 253


@given(st.integers(0, 2**32 - 1), FACTORS, st.booleans())
def test_an_8_bit_grid_keeps_its_values(seed: int, factor: float, negative: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-127, 128, (4, 96)).astype(np.int8)
    scale = (rng.random((4, 3)) + 0.01).astype(np.float32) * (-1 if negative else 1)
    m = grids.signed_grid("w", Grid(8, values, scale, None, 32), factor)
    m.check()
    assert m.offsets is None and (m.bits, m.planes) == (4, 2)
    np.testing.assert_array_equal(m.values(), -values if negative else values)
    expected = values * spread(scale, 32, 96).astype(float) * factor
    assert (np.abs(real(m) - expected) <= unit_of(m) * np.abs(values) / 2 * (1 + 1e-5)).all()


def test_8_bits_reach_both_ends() -> None:
    values = np.array([[-128, 127, 0, -1] * 8], np.int8)
    scale = np.array([[0.01]], np.float32)
    m = grids.signed_grid("w", Grid(8, values, scale, None, 32), 1.0)
    np.testing.assert_array_equal(m.values(), values)


@st.composite
def long_rows(draw: st.DrawFn) -> Grid:
    """5 to 8 bits with minima; rows so long that an accumulator has no room for 8-bit scales."""
    bits, rng = draw(st.integers(5, 8)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.integers(1, 80))
    codes = rng.integers(0, 1 << bits, (2, groups * 64), dtype=np.uint8)
    scale = (rng.random((2, groups)) + 0.01) * rng.choice([-1, 1], (2, groups)) / 50
    minimum = -(rng.random(scale.shape) * (1 << bits)) * scale
    return Grid(bits, codes, scale.astype(np.float32), minimum.astype(np.float32), 64)


@given(long_rows(), FACTORS)
def test_a_grid_of_5_to_8_bits_has_two_planes(grid: Grid, factor: float) -> None:
    m = grids.offset_grid("w", grid, factor, planes=2)
    m.check()
    assert (m.bits, m.planes) == (4, 2) and m.sum_bits() <= grids.ROW_SUM_BITS
    top = (1 << grid.bits) - 1
    codes = np.where(
        spread(grid.scale < 0, 64, m.in_features), top - grid.codes.astype(int), grid.codes
    )
    np.testing.assert_array_equal(m.values(), codes - (1 << grid.bits - 1))
    tolerance = unit_of(m) * (np.abs(m.values().astype(int)) / 2 + 0.5) * (1 + 1e-5)
    tolerance += 1e-6 * top * np.abs(grid.scale).max() * factor  # a minimum turned round is float32
    assert (np.abs(real(m) - weights_of(grid) * factor) <= tolerance).all()


def codebook_grid(book: tuple[int, ...], signs: tuple[int, ...], powers: bool = False) -> Grid:
    rng = np.random.default_rng(len(signs))
    codes = rng.choice(np.array(book, np.int8), (4, 96))
    scale = rng.random((4, 3)) * 0.9 + 0.1
    if powers:
        scale = 2.0 ** rng.integers(-6, 1, scale.shape)
        scale[:, 0] = 1
    return Grid(4, codes, (scale * rng.choice(signs, (4, 3))).astype(np.float32), None, 32, book)


@pytest.mark.parametrize("factor", [1.0, 1.3])
@pytest.mark.parametrize("signs", [(1,), (1, -1)])
@pytest.mark.parametrize("book", [FLOAT4, IQ4, ()])
def test_a_codebook_is_kept_where_scales_have_no_sign_or_it_is_symmetric(
    book: tuple[int, ...], signs: tuple[int, ...], factor: float
) -> None:
    grid = codebook_grid(book or tuple(range(-8, 8)), signs)
    m = grids.codebook_grid("w", replace(grid, codebook=book), factor)
    if len(signs) == 2 and book != FLOAT4:
        assert m is None
        m = grids.signed_grid("w", grid, factor)
    assert m is not None
    m.check()
    np.testing.assert_array_equal(m.values(), grid.codes * spread(np.sign(grid.scale), 32, 96))
    tolerance = unit_of(m) * np.abs(m.values()) / 2 + np.abs(weights_of(grid)) * factor / 256
    assert (np.abs(real(m) - weights_of(grid) * factor) <= tolerance * (1 + 1e-5)).all()


def test_which_grids_are_sure_to_be_kept() -> None:
    one, two, three = Code("symmetric", 4), Code("symmetric", 4, 2), Code("symmetric", 3, 2)
    asked = {
        GridForm(4, 32): (True, True, True),
        GridForm(3, 96): (True, True, True),
        GridForm(5, 32): (False, True, True),
        GridForm(8, 32): (False, True, False),
        GridForm(4, 32, FLOAT4): (True, True, False),
        GridForm(4, 32, IQ4): (False, True, False),
        GridForm(4, 48): (False, False, False),
    }
    for form, kept in asked.items():
        assert tuple(keeps(form, code) for code in (one, two, three)) == kept, form
    assert not keeps(None, two)


def test_scales_that_are_powers_of_two_stay_exact() -> None:
    """MXFP4: seven powers below a row's largest are whole multiples of its unit."""
    grid = codebook_grid(FLOAT4, (1,), powers=True)
    m = grids.codebook_grid("w", grid, 1.0)
    assert m is not None
    np.testing.assert_array_equal(real(m), weights_of(grid))


# Through a recipe


@given(grid4(symmetric=False))
def test_a_fitting_grid_is_imported(grid: Grid) -> None:
    rows, columns = grid.codes.shape
    recipe = recipes.get("4bit")
    found = quantize_matrix(recipe, "layers.0.up_proj", (rows, columns), GridRows(grid), 1.0)
    np.testing.assert_array_equal(unpack_codes(found.codes[0], 4, columns), grid.codes)
    # Where the recipe allows 8 bits it has its own 4.
    head = quantize_matrix(recipe, "lm_head", (rows, columns), GridRows(grid), 1.0)
    assert same(replace(head, name=found.name), found)
