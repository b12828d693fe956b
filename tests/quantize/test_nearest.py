"""Rounding to nearest: scales by search, every weight to its nearest value, in pieces of rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.checkpoint.base import Grid
from hardcast.errors import HardcastError
from hardcast.image.matrix import MOST_SHIFT, Matrix
from hardcast.quantize import imports, nearest, scales
from hardcast.quantize import recipe as recipes
from hardcast.quantize.code import Code
from hardcast.quantize.grid import ROW_SUM_BITS
from hardcast.quantize.nearest import quantize_matrix, round_nearest, round_values
from hardcast.quantize.recipe import Recipe
from hardcast.quantize.scales import find_scales, integer_scales
from tests.quantize.forms import (
    CODES,
    FloatRows,
    GridRows,
    minimum_of,
    real,
    same,
    spread,
    step_of,
    unit_of,
)

GROUP_SIZES = (0, 32, 64)
some_code = st.builds(
    lambda code, size: replace(code, group_size=size),
    st.sampled_from(list(CODES.values())),
    st.sampled_from(GROUP_SIZES),
)
every_code = pytest.mark.parametrize("name", CODES)


@st.composite
def float_weights(draw: st.DrawFn) -> np.ndarray:
    """float32[out, in], any in_features, groups of very different size within a row."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 140))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    w = rng.standard_normal((rows, columns)) + draw(st.sampled_from([0.0, 3.0]))
    size = 2.0 ** rng.integers(-draw(st.integers(0, 12)), 1, (rows, -(-columns // 32)))
    scale = 2.0 ** draw(st.integers(-12, 6))
    return (w * spread(size, 32, columns) * scale).astype(np.float32)


def rounded(w: np.ndarray, code: Code, factor: float = 1.0) -> Matrix:
    return round_nearest("w", w, code, factor)


def normal(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


@settings(deadline=None)
@given(float_weights(), some_code)
def test_every_weight_goes_to_the_nearest_value(w: np.ndarray, code: Code) -> None:
    """Nothing representable under the matrix's own scales is nearer: half a step, unless clipped.

    The weights are divided by their step in float32, which may decide a tie either way.
    """
    m = rounded(w, code)
    m.check()
    assert m.group_size == code.group(w.shape[1]) and m.rom_bits == code.rom_bits(w.shape)
    step, minimum = step_of(m), minimum_of(m)
    error = np.abs(real(m) - w)
    could_be = step[:, :, None] * code.values + minimum[:, :, None] - w[:, :, None]
    slack = 1e-6 * (np.abs(w) + np.abs(minimum) + step * np.abs(code.values).max())
    assert (error <= np.abs(could_be).min(axis=2) + slack).all()
    x = (w - minimum) / step
    gap = np.diff(code.values).max()
    inside = (x >= code.values[0] - gap / 2) & (x <= code.values[-1] + gap / 2)
    assert (error <= step * gap / 2 + slack)[inside].all()


@every_code
def test_the_search_beats_the_scale_that_clips_nothing(name: str) -> None:
    """Squared error of Gaussian weights, group by group, but for what integer scales round."""
    code, w = CODES[name], normal(20, 256)
    grouped = w.reshape(20, -1, 64)
    low, total = None, np.abs(w).sum(axis=1, dtype=np.float64)
    if code.kind == "asymmetric":
        low, high = grouped.min(axis=2), grouped.max(axis=2)
        whole = integer_scales((high - low) / code.values[-1], low, total)
    else:
        whole = integer_scales(np.abs(grouped).max(axis=2) / code.reach, None, total)
    found = find_scales(w, None, code)
    assert (found.steps <= whole.steps * 1.01).all()

    def loss(s: scales.Scales) -> np.ndarray:
        values = round_values(w, s.steps, s.minima, code)
        back = values * spread(s.steps, 64, 256)
        if s.minima is not None:
            back += spread(s.minima, 64, 256)
        return np.square(back - w).reshape(20, -1, 64).sum(axis=2)

    # A group whose scale is small beside the row's largest is coarser: half a unit either way.
    assert (loss(found) <= loss(whole) * 1.08).all()
    assert loss(found).sum() <= loss(whole).sum() * 1.0001
    if code.bits * code.planes <= 3:
        assert loss(found).sum() < 0.9 * loss(whole).sum()


def test_important_inputs_get_the_better_scale() -> None:
    code, w = CODES["levels"], normal(50, 64)
    importance = np.where(np.arange(64) < 8, 100, 1).astype(np.float32)

    def loss(weight: np.ndarray | None) -> float:
        s = find_scales(w, weight, code)
        back = round_values(w, s.steps, s.minima, code) * spread(s.steps, 64, 64)
        return float((np.square(back - w) * importance).sum())

    assert loss(importance) < 0.95 * loss(None)


@every_code
@pytest.mark.parametrize("group_size", GROUP_SIZES)
def test_a_matrix_on_a_codes_grid_is_taken_as_it_is(name: str, group_size: int) -> None:
    """Weights that a chip's own form stands for, read as floats, give that form again.

    Each group reaches its code's ends, and a row's largest scale is 255, as the search leaves it.
    """
    code = replace(CODES[name], group_size=group_size)
    rng = np.random.default_rng(1)
    rows, columns = 6, 150
    size = code.group(columns)
    groups = -(-columns // size)
    values = rng.choice(code.values[np.abs(code.values) <= (code.reach or 16)], (rows, columns))
    values[:, ::size] = code.values[-1] if code.kind == "asymmetric" else code.reach
    values[:, 1::size] = 0 if code.kind == "asymmetric" else values[:, 1::size]
    if code.kind == "codebook":  # the side that is the shorter one
        values[:, ::size] = code.reach if code.reach in code.values else -code.reach
    unsigned = rng.integers(1, 256, (rows, groups), dtype=np.uint8)
    unsigned[:, 0] = 255
    offsets = None
    if code.kind == "asymmetric":
        offsets = rng.integers(-4000, 1000, (rows, groups)).astype(np.int16)
    multiplier = rng.integers(128, 256, rows).astype(np.uint8)
    shift = rng.integers(4, 20, rows).astype(np.int16)
    m = code.matrix("w", values, unsigned, offsets, multiplier, shift)
    again = rounded(real(m).astype(np.float32), code)
    assert same(again, m)


@settings(deadline=None)
@given(float_weights(), some_code, st.sampled_from([0.25, 1.4426950408889634 / 24**0.5, 3.7]))
def test_a_factor_only_moves_multiplier_and_shift(w: np.ndarray, code: Code, factor: float) -> None:
    plain, m = rounded(w, code), rounded(w, code, factor)
    m.check()
    for part in ("codes", "scales", "offsets"):
        np.testing.assert_array_equal(getattr(m, part), getattr(plain, part))
    if m.row_shift.max() == MOST_SHIFT:
        return  # as small as a chip's unit can be
    ratio = unit_of(m) / (unit_of(plain) * factor)
    assert (np.abs(ratio - 1) <= (1 / 256 if factor != 0.25 else 0)).all()


def test_short_last_groups_do_not_count_their_padding() -> None:
    """All weights near 5: a zero of the padding would ruin the last group's range."""
    w = np.full((3, 70), 5, np.float32) + np.arange(70, dtype=np.float32) / 100
    m = rounded(w, CODES["asymmetric 4"])
    assert m.groups == 2
    assert np.abs(real(m) - w)[:, 64:].max() < 0.01


@every_code
@pytest.mark.parametrize("columns", [200, 3000, 40_000])
def test_long_rows_of_loud_weights_fit_an_accumulator(name: str, columns: int) -> None:
    """Scales stay below 255 where the sum of a row's integers would be too large."""
    w = np.where(np.arange(columns) % 3 == 0, -1, 1).astype(np.float32)[None]
    m = rounded(w, CODES[name])
    assert m.sum_bits() <= ROW_SUM_BITS
    np.testing.assert_allclose(real(m), w, rtol=0.3 if name == "skew" else 0.15)


@every_code
class TestExtremes:
    @pytest.mark.parametrize("factor", [1.0, 0.05])
    def test_zero_rows(self, name: str, factor: float) -> None:
        """Also of q_proj, whose factor would make their unit smaller still."""
        w = np.zeros((3, 64), np.float32)
        w[1] = 1.5
        m = rounded(w, CODES[name], factor)
        m.check()
        np.testing.assert_allclose(real(m)[[0, 2]], 0, atol=2e-8)
        np.testing.assert_allclose(real(m)[1], 1.5 * factor, rtol=1e-2)

    @pytest.mark.filterwarnings("error")
    def test_groups_of_one_weight(self, name: str) -> None:
        """Also where a padded group has no range at all: nothing is divided by it aloud."""
        w = np.full((2, 70), 0.25, np.float32)
        np.testing.assert_allclose(real(rounded(w, CODES[name])), w, rtol=0.01)

    def test_zero_groups(self, name: str) -> None:
        w = np.zeros((1, 192), np.float32)
        w[0, 64:128] = np.linspace(-1, 1, 64)
        found = real(rounded(w, CODES[name]))
        least = 0 if 0 in CODES[name].values else 0.002  # a code without 0 comes as near as it can
        assert np.abs(found[0, :64]).max() <= least and np.abs(found[0, 128:]).max() <= least

    @pytest.mark.parametrize("size", [1e-10, 1e-20, 1e-38, 1.4e-45])
    def test_tiny_rows_stay_tiny(self, name: str, size: float) -> None:
        w = (np.linspace(-1, 1, 64)[None] * size).astype(np.float32)
        m = rounded(w, CODES[name])
        m.check()
        assert np.abs(real(m) - w).max() <= max(size, 128 * 2.0**-33)

    @pytest.mark.parametrize("size", [1e5, 1e8])
    def test_large_rows_keep_their_shape(self, name: str, size: float) -> None:
        w = (np.linspace(-1, 1, 64)[None] * size).astype(np.float32)
        m = rounded(w, CODES[name])
        m.check()
        assert np.corrcoef(real(m)[0], w[0])[0, 1] > 0.85

    @pytest.mark.filterwarnings("ignore:overflow")  # the refusal is what the user sees
    @pytest.mark.parametrize("size", [1e20, 3.4e38])
    def test_huge_rows_are_refused_by_name(self, name: str, size: float) -> None:
        w = (np.linspace(-1, 1, 64)[None] * size).astype(np.float32)
        with pytest.raises(HardcastError, match="layers.7.o_proj: row_shift is outside"):
            round_nearest("layers.7.o_proj", w, CODES[name], 1.0).check()

    def test_one_column(self, name: str) -> None:
        w = np.array([[0.5], [-0.25], [1e-3]], np.float32)
        found = real(rounded(w, CODES[name]))
        # The codebook that is not mirrored has no scale that suits its longer side.
        np.testing.assert_allclose(found, w, rtol=0.06 if name == "skew" else 0.01)


# Whole matrices, by recipe


@pytest.mark.parametrize("name", ["layers.0.q_proj", "embed_tokens", "lm_head"])
@pytest.mark.parametrize("recipe", ["4bit", "3bit", "ternary"])
def test_pieces_and_threads_change_nothing(
    recipe: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    w, shape = normal(37, 70), (37, 70)
    made = recipes.get(recipe)
    whole = quantize_matrix(made, name, shape, FloatRows(w), 1.1)
    assert whole.planes == (1 if "q_proj" in name else 2)
    with ThreadPoolExecutor(3) as pool:
        for piece, chunk in ((1, 1), (70, 200), (5 * 70, 70), (36 * 70 + 1, 7 * 70), (1 << 22, 99)):
            monkeypatch.setattr(imports, "PIECE_WEIGHTS", piece)
            monkeypatch.setattr(nearest, "CHUNK_WEIGHTS", chunk)
            monkeypatch.setattr(scales, "CHUNK_WEIGHTS", chunk)
            for threads in (None, pool):
                assert same(quantize_matrix(made, name, shape, FloatRows(w), 1.1, threads), whole)


def grid(bits: int) -> Grid:
    rng = np.random.default_rng(bits)
    scale = (rng.random((5, 3)) + 0.5).astype(np.float32)
    if bits == 8:
        return Grid(8, rng.integers(-127, 128, (5, 96)).astype(np.int8), scale, None, 32)
    return Grid(4, rng.integers(0, 16, (5, 96), dtype=np.uint8), scale, -scale * 8, 32)


def imported(code: Code, stored: Grid, importing: bool) -> tuple[Matrix, Matrix]:
    """What the recipe makes of a stored grid, and what rounding its weights makes."""
    source = GridRows(stored)
    recipe = Recipe("r", "", code, import_grids=importing)
    return (
        quantize_matrix(recipe, "w", (5, 96), source, 1.0),
        rounded(source.weights, code),
    )


def test_grids_are_imported_where_the_code_has_room_and_the_recipe_says_so() -> None:
    narrow, wide = Code("asymmetric", 4, group_size=32), Code("symmetric", 4, 2, group_size=32)
    for code, bits in ((narrow, 4), (wide, 8)):
        found, other = imported(code, grid(bits), True)
        assert not same(found, other)  # the search shrinks a step here and there
        integers = found.values()
        np.testing.assert_array_equal(integers, grid(bits).codes)
        assert same(*imported(code, grid(bits), False))
    for code in [replace(CODES[name], group_size=32) for name in CODES]:
        for bits in (4, 8):
            kept = bits <= code.bits or (code.planes == 2 and bits <= 2 * code.bits)
            assert same(*imported(code, grid(bits), True)) != kept
