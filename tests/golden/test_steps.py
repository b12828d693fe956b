"""Each step against real arithmetic within a stated error, and the properties that are exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.golden import steps
from hardcast.golden.steps import Normed, Weights
from hardcast.numerics import tables
from hardcast.numerics.blocks import quantize_blocks
from hardcast.numerics.points import Points
from hardcast.numerics.rope import inverse_frequencies, rope_tables

POINTS = Points()
SEEDS = st.integers(0, 2**32 - 1)
RSQRT_ERROR = 1.33e-3  # a chord lies above 1/sqrt; the first of the 24 most
SIGMOID = tables.sigmoid_table().astype(np.int64)


def real(x: np.ndarray, point: int) -> np.ndarray:
    return x.astype(np.float64) / 2.0**point


def draw_weights(rng: np.random.Generator, rows: int, columns: int) -> Weights:
    """A matrix as integers with entries of about 1 / sqrt(columns)."""
    integers = rng.integers(-3000, 3001, (rows, columns)).astype(np.int32)
    sum_bits = int(np.abs(integers).sum(axis=1).max()).bit_length()
    multiplier = rng.integers(128, 256, rows)
    return Weights(integers, multiplier, np.full(rows, 22) + rng.integers(-2, 3, rows), sum_bits)


def real_weights(weights: Weights) -> np.ndarray:
    return weights.integers * (weights.row_multiplier / 2.0**weights.row_shift)[:, None]


def draw_vector(rng: np.random.Generator, tokens: int, n: int, point: int) -> np.ndarray:
    """Nearly normal with a few outliers, at `point`."""
    x = rng.standard_normal((tokens, n)) * 2.0 ** rng.integers(-3, 4, (tokens, 1))
    x[rng.random(x.shape) < 0.02] *= 50
    return np.rint(x * 2.0**point).astype(np.int64)


# RSQRT and NORM


@given(st.integers(1, 1 << 72))
def test_rsqrt_error(energy: int) -> None:
    """The docstring's bound, for every size from 1 to the largest sum of squares."""
    r, halfshift = steps.rsqrt([energy])
    found = int(r[0]) * 2.0 ** -(31 + int(halfshift[0]))
    assert -3e-5 < found * energy**0.5 - 1 < RSQRT_ERROR
    assert 1 << 15 <= r[0] <= 1 << 16


def test_rsqrt_error_is_no_smaller_than_stated() -> None:
    energy = [(1 << 30) + (k << 18) for k in range(1 << 9)]
    r, halfshift = steps.rsqrt(energy)
    found = r * 2.0 ** -(31.0 + halfshift) * np.sqrt(np.array(energy, float)) - 1
    assert 0.98 * RSQRT_ERROR < found.max() < RSQRT_ERROR


def test_rsqrt_is_exact_at_powers_of_four_and_never_rises() -> None:
    r, halfshift = steps.rsqrt([4**k for k in range(36)])
    assert (r == 1 << 16).all()
    assert halfshift.tolist() == [k - 15 for k in range(36)]
    row = list(range(1 << 14, 1 << 16, 7))
    r, halfshift = steps.rsqrt(row)
    assert (np.diff(r * 2.0 ** -halfshift.astype(float)) <= 0).all()


@given(SEEDS, st.sampled_from([24, 64, 96, 200]))
def test_sum_of_squares(seed: int, n: int) -> None:
    x = draw_vector(np.random.default_rng(seed), 3, n, 12)
    exact = [sum(int(v) ** 2 for v in row) for row in x]
    for found, truth in zip(steps.sum_of_squares(x), exact, strict=True):
        assert abs(found - truth) <= truth * 2**-13
    small = np.clip(x, -(1 << 15), (1 << 15) - 1)  # 16 bits: nothing is dropped
    assert steps.sum_of_squares(small) == [sum(int(v) ** 2 for v in row) for row in small]


def normed_values(normed: Normed) -> np.ndarray:
    """What NORM's result stands for, in reals."""
    scale = normed.r * 2.0 ** -(31.0 + normed.halfshift)
    return real(normed.blocks.values, POINTS.norm_extra) * scale[:, None]


@given(SEEDS, st.sampled_from([32, 96, 200]))
def test_norm(seed: int, n: int) -> None:
    """At 15 bits only NORM's own roundings are left: 1/rms and the half unit of x gain."""
    rng = np.random.default_rng(seed)
    x = draw_vector(rng, 3, n, POINTS.residual)
    gain = np.rint((1 + rng.random(n)) * np.sqrt(n) * 2.0**POINTS.gain).astype(np.int64)
    epsilon = round(1e-5 * n * 4**POINTS.residual)
    found = normed_values(steps.norm(x, gain, epsilon, POINTS, 15))
    energy = (x.astype(float) ** 2).sum(axis=1, keepdims=True) + epsilon
    expected = x * real(gain, POINTS.gain) / np.sqrt(energy)
    unit = 2.0**-POINTS.norm_extra / np.sqrt(energy)
    largest = np.abs(expected).max()
    assert (
        np.abs(found - expected) <= unit + RSQRT_ERROR * np.abs(expected) + 2.0**-14 * largest
    ).all()


def test_norm_does_not_depend_on_scale() -> None:
    """x and 16 x, without epsilon, have the same normed value: only the exponents differ."""
    rng = np.random.default_rng(0)
    x = rng.integers(-(1 << 14), 1 << 14, (4, 96))
    gain = np.full(96, 40000)
    one, other = (steps.norm(x << k, gain, 0, POINTS, 8) for k in (3, 7))
    np.testing.assert_array_equal(one.r, other.r)
    np.testing.assert_array_equal(other.halfshift - one.halfshift, 4)
    np.testing.assert_allclose(normed_values(one), normed_values(other), rtol=2**-7, atol=2e-2)


def test_norm_of_zeros_is_zero() -> None:
    for epsilon in (0, 1000):
        normed = steps.norm(np.zeros((2, 96), np.int64), np.full(96, 40000), epsilon, POINTS, 8)
        assert not normed.blocks.values.any()


@given(SEEDS, st.sampled_from([16, 24, 80, 200]), st.sampled_from([POINTS.qk, POINTS.residual]))
def test_head_norm(seed: int, head_dim: int, point: int) -> None:
    """Heads of q and k, and longer parts; at the point of q and k and at that of y."""
    rng = np.random.default_rng(seed)
    x = draw_vector(rng, 3, 4 * head_dim, point)
    gain = np.rint((1 + rng.random(head_dim)) * np.sqrt(head_dim) * 2.0**POINTS.gain)
    epsilon = round(1e-5 * head_dim * 4**point)
    found = real(steps.head_norm(x, gain.astype(np.int64), epsilon, POINTS, point), point)
    heads = x.reshape(3, 4, head_dim).astype(float)
    rms = np.sqrt((heads**2).sum(axis=2, keepdims=True) + epsilon)
    expected = (heads / rms * gain / 2.0**POINTS.gain).reshape(x.shape)
    # half a unit of the point, half a unit of `normed` times the gain, and 1/rms
    absolute = 2.0 ** -(point + 1) + 2.0 ** -(POINTS.normed + 1) * real(gain, POINTS.gain).max()
    assert (np.abs(found - expected) <= absolute + RSQRT_ERROR * np.abs(expected)).all()


# MATVEC, EMBED, ADD


@given(SEEDS, st.integers(8, 15))
def test_matvec_of_plain_blocks(seed: int, bits: int) -> None:
    """Half a unit of the output beyond the exact product of what is stored, and one of t."""
    rng = np.random.default_rng(seed)
    weights = draw_weights(rng, 20, 150)
    blocks = quantize_blocks(draw_vector(rng, 3, 150, POINTS.f), bits)
    bias = rng.integers(-1000, 1000, 20)
    exact = real(blocks.values, POINTS.f) @ real_weights(weights).T
    found = steps.matvec(weights, blocks, POINTS.f, POINTS.residual, bias)
    largest = blocks.exponents.max(axis=1)
    drop = np.maximum(largest + weights.sum_bits + bits - 1 - steps.PRODUCT_BITS, 0)
    unit = weights.row_multiplier / 2.0**weights.row_shift
    lost = (2.0**drop / 2 * (drop > 0))[:, None] * unit / 2.0**POINTS.f
    error = np.abs(real(found - bias, POINTS.residual) - exact)
    assert (error <= 2.0 ** -(POINTS.residual + 1) + lost + 1e-9).all()


@given(SEEDS)
def test_matvec_after_norm(seed: int) -> None:
    """NORM leaves 1/rms to the product: together they are matrix @ norm(x)."""
    rng = np.random.default_rng(seed)
    weights = draw_weights(rng, 20, 96)
    gain = np.rint((1 + rng.random(96)) * np.sqrt(96) * 2.0**POINTS.gain).astype(np.int64)
    normed = steps.norm(draw_vector(rng, 3, 96, POINTS.residual), gain, 7, POINTS, 8)
    found = steps.matvec(weights, normed, POINTS.norm_extra, POINTS.gate, None)
    exact = normed_values(normed) @ real_weights(weights).T
    reach = np.abs(real_weights(weights)).sum(axis=1) * np.abs(normed_values(normed)).max()
    tolerance = 2.0 ** -(POINTS.gate + 1) + reach * 2.0 ** -(steps.PRODUCT_BITS - 9)
    assert (np.abs(real(found, POINTS.gate) - exact) <= tolerance).all()


@given(SEEDS)
def test_matvec_rows_and_tokens_are_independent(seed: int) -> None:
    """With the matrix's sum_bits kept: which rows a thread takes, which tokens come together."""
    rng = np.random.default_rng(seed)
    weights = draw_weights(rng, 12, 130)
    x = draw_vector(rng, 4, 130, 8)
    whole = steps.matvec(weights, quantize_blocks(x, 8), 8, 9, None)
    rows = rng.permutation(12)
    some = Weights(
        weights.integers[rows],
        weights.row_multiplier[rows],
        weights.row_shift[rows],
        weights.sum_bits,
    )
    alone = steps.matvec(some, quantize_blocks(x[2:3], 8), 8, 9, None)
    np.testing.assert_array_equal(alone[0], whole[2, rows])


def test_matvec_saturates() -> None:
    weights = Weights(
        np.array([[255 * 127] * 64, [-255 * 127] * 64], np.int32),
        np.array([255, 255]),
        np.array([-4, -4]),
        21,
    )
    x = quantize_blocks(np.full((1, 64), 1 << 20), 8)
    found = steps.matvec(weights, x, 8, 9, np.array([5, -5]))
    assert found.tolist() == [[(1 << 31) - 1, -(1 << 31)]]


@given(SEEDS)
def test_embed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = draw_weights(rng, 30, 40)
    tokens = rng.integers(0, 30, 9)
    found = real(steps.embed(weights, tokens, POINTS.residual), POINTS.residual)
    assert (np.abs(found - real_weights(weights)[tokens]) <= 2.0 ** -(POINTS.residual + 1)).all()


def test_add_saturates_at_both_ends() -> None:
    top = (1 << 31) - 1
    x = np.array([top, -top - 1, top - 3, 5])
    assert steps.add(x, np.array([1, -1, 3, -7])).tolist() == [top, -top - 1, top, -2]


# ROPE


@given(SEEDS)
def test_rope(seed: int) -> None:
    """A rotation by position times frequency, right to the tables' 14 bits."""
    rng = np.random.default_rng(seed)
    frequencies = inverse_frequencies(24, 10000.0, None)
    coarse, fine = ROPE_24
    x = draw_vector(rng, 5, 3 * 24, POINTS.qk)
    positions = rng.integers(0, 1000, 5)
    found = real(steps.rope(x, positions, coarse, fine, POINTS), POINTS.rope)
    angles = positions[:, None] * np.array([float(f) for f in frequencies])
    turn = np.exp(1j * angles)[:, None, :]
    heads = real(x, POINTS.qk).reshape(5, 3, 24)
    turned = (heads[..., :12] + 1j * heads[..., 12:]) * turn
    expected = np.concatenate([turned.real, turned.imag], axis=2).reshape(5, -1)
    length = np.tile(np.abs(turned), (1, 1, 2)).reshape(5, -1)
    error = np.abs(found - expected)
    assert (error <= 2.0 ** -(POINTS.rope + 1) + 2.2 * length / (1 << 14) + 1e-12).all()


ROPE_24 = rope_tables(inverse_frequencies(24, 10000.0, None), 1000)


def test_rope_at_position_0_only_changes_the_point() -> None:
    x = np.arange(-48, 48).reshape(2, 48)
    found = steps.rope(x, np.zeros(2, np.int64), *ROPE_24, POINTS)
    np.testing.assert_array_equal(found, (x + 1) >> (POINTS.qk - POINTS.rope))


# ATTEND


def attend_case(seed: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, keys, values as int8 blocks stand for: [2, 16], [length, 16], [length, 16]."""
    rng = np.random.default_rng(seed)
    shapes = ((2, POINTS.rope), (length, POINTS.rope), (length, POINTS.v))
    drawn = (np.rint(rng.standard_normal((n, 16)) * 2.0**point) for n, point in shapes)
    q, keys, values = (quantize_blocks(x.astype(np.int64), 8, 16).values for x in drawn)
    return q, keys, values


@given(SEEDS, st.integers(1, 300))
def test_attend(seed: int, length: int) -> None:
    """Softmax in powers of two.

    Scores have 8 bits, probabilities 12, 1/Z is right to 1/512, and probabilities below half
    a unit of 12 bits are dropped.
    """
    q, keys, values = attend_case(seed, length)
    visible = np.ones((2, length), bool)
    visible[1, length // 2 + 1 :] = False
    found = real(steps.attend(q, keys, values, visible, POINTS), POINTS.a)
    scores = real(q, POINTS.rope) @ real(keys, POINTS.rope).T
    p = np.where(visible, 2.0 ** (scores - np.where(visible, scores, -np.inf).max(1)[:, None]), 0)
    p /= p.sum(axis=1, keepdims=True)
    v = real(values, POINTS.v)
    # score: 2 half units of 2^-8 in the exponent, and the table's own step: ln 2 / 256 each.
    relative = 2 * np.log(2) / 256 + 1 / 500
    z = 1 / p.max(axis=1)
    dropped = length / (2 * 4095) / z
    tolerance = (relative + dropped)[:, None] * 2 * (p @ np.abs(v) + np.abs(v).mean(axis=0)) + (
        2.0**-POINTS.a
    )
    assert (np.abs(found - p @ v) <= tolerance).all()


@given(SEEDS, st.integers(1, 100))
def test_attend_does_not_depend_on_the_order_of_positions(seed: int, length: int) -> None:
    q, keys, values = attend_case(seed, length)
    rng = np.random.default_rng(seed)
    visible = rng.random((2, length)) < 0.7
    visible[:, 0] = True
    order = rng.permutation(length)
    found = steps.attend(q, keys[order], values[order], visible[:, order], POINTS)
    np.testing.assert_array_equal(found, steps.attend(q, keys, values, visible, POINTS))


@given(SEEDS, st.integers(1, 60))
def test_attend_does_not_see_the_invisible(seed: int, length: int) -> None:
    """As if those positions were not there: what is sliding out of a window, or still to come."""
    q, keys, values = attend_case(seed, length + 7)
    visible = np.ones((2, length + 7), bool)
    visible[:, length:] = False
    keys[length:] = 1 << 20
    found = steps.attend(q, keys, values, visible, POINTS)
    shown = steps.attend(q, keys[:length], values[:length], visible[:, :length], POINTS)
    np.testing.assert_array_equal(found, shown)


def test_attend_to_one_position_is_its_value() -> None:
    q, keys, values = attend_case(3, 1)
    found = steps.attend(q, keys, values, np.ones((2, 1), bool), POINTS)
    exact = np.tile(values, (2, 1))
    assert (np.abs(found - exact) <= np.abs(exact) / 512 + 1).all()


def test_attend_to_equal_positions_is_their_value_at_any_length() -> None:
    """Z grows to 25 bits and more without an overflow: 20000 equal positions."""
    q, keys, values = attend_case(4, 1)
    found = steps.attend(
        q, np.tile(keys, (20000, 1)), np.tile(values, (20000, 1)), np.ones((2, 20000), bool), POINTS
    )
    exact = np.tile(values, (2, 1))
    assert (np.abs(found - exact) <= np.abs(exact) / 300 + 1).all()


def test_attend_at_the_largest_codes() -> None:
    """Scores of 2^44 and more, values of 22 bits: the softmax is one-hot, nothing wraps."""
    top = 127 << 15
    q = np.full((1, 128), top)
    keys = np.stack([np.full(128, top), np.full(128, -128 << 15)])
    values = np.stack([np.full(128, top), np.full(128, -top)])
    found = steps.attend(q, keys, values, np.ones((1, 2), bool), POINTS)
    assert (np.abs(found - top) <= top // 512).all()


# GATE_MUL


def silu(g: np.ndarray) -> np.ndarray:
    return g / (1 + np.exp(-np.maximum(g, -700)))


def test_sigmoid_over_its_whole_range() -> None:
    """silu(g) * 1.0 for every g in -10..10: interpolation is right to 3e-4 of |g|."""
    g = np.arange(-10 << POINTS.gate, (10 << POINTS.gate) + 1)
    one = np.full_like(g, 1 << POINTS.gate)
    wide = Points(f=POINTS.silu)
    found = real(steps.gate_mul(g, one, SIGMOID, 3, wide), wide.f)
    x = real(g, POINTS.gate)
    assert (np.abs(found - silu(x)) <= 2.0**-POINTS.silu + 5e-4 * np.abs(x)).all()
    inside = np.abs(x) < 8
    sigmoid = np.abs(found[inside] - silu(x[inside]))
    assert sigmoid.max() < 2.5e-3


def test_gelu_over_its_whole_range() -> None:
    """The table ends at 4, where 12 bits do, and is right to 6e-4 everywhere."""
    g = np.arange(-10 << POINTS.gate, (10 << POINTS.gate) + 1)
    one = np.full_like(g, 1 << POINTS.gate)
    wide = Points(f=POINTS.silu)
    table = tables.gelu_tanh_table().astype(np.int64)
    found = real(steps.gate_mul(g, one, table, 2, wide), wide.f)
    x = real(g, POINTS.gate)
    exact = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    assert np.abs(found - exact).max() <= 2.0 ** -(POINTS.silu + 1) + 6e-4


@given(SEEDS)
def test_gate_mul(seed: int) -> None:
    rng = np.random.default_rng(seed)
    g, u = (draw_vector(rng, 2, 50, POINTS.gate) for _ in range(2))
    found = real(steps.gate_mul(g, u, SIGMOID, 3, POINTS), POINTS.f)
    x, y = real(g, POINTS.gate), real(u, POINTS.gate)
    tolerance = (2.0**-POINTS.silu + 5e-4 * np.abs(x)) * np.abs(y) + 2.0 ** -(POINTS.f + 1)
    assert (np.abs(found - silu(x) * y) <= tolerance).all()


@pytest.mark.parametrize("g", [8 << 10, (8 << 10) + 1, (1 << 31) - 1, -(1 << 31), -(8 << 10)])
def test_gate_mul_beyond_its_table(g: int) -> None:
    """|g| >= 8: the sigmoid stays at its last entry, 4095 of 4096; no index leaves the table."""
    u = np.array([1 << 10, -(1 << 31), (1 << 31) - 1])
    found = steps.gate_mul(np.full(3, g), u, SIGMOID, 3, POINTS)
    t = int(SIGMOID[-1]) if g > 0 else 4096 - int(SIGMOID[-1])
    silu_int = (g * t + 2048) >> 12
    assert found.tolist() == [(silu_int * int(y) + (1 << 11)) >> 12 for y in u]


@given(st.integers(-(1 << 31), (1 << 31) - 1))
def test_silu_never_exceeds_its_input(g: int) -> None:
    """What bounds.py relies on: |silu(g)| <= |g|, exactly."""
    wide = Points(f=POINTS.silu)
    found = steps.gate_mul(np.array([g]), np.array([1 << POINTS.gate]), SIGMOID, 3, wide)
    assert abs(int(found[0])) <= abs(g)
