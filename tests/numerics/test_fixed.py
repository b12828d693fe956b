"""Rounding shifts, bit lengths and exact matrix products against Python's own integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.numerics.fixed import (
    bit_length,
    isqrt_ceil,
    matmul_exact,
    rescale,
    rs,
    saturate32,
)

INT62 = st.integers(-(1 << 61), 1 << 61)


def one(value: int) -> np.ndarray:
    return np.array([value], np.int64)


def half_up(x: int, k: int) -> int:
    """floor(x / 2^k + 1/2) in unlimited integers."""
    return (2 * x + (1 << k)) // (2 << k)


@pytest.mark.parametrize(
    ("x", "k", "expected"),
    [(3, 1, 2), (-3, 1, -1), (1, 1, 1), (-1, 1, 0), (5, 0, 5), (-5, 0, -5), (6, 2, 2), (-6, 2, -1)],
)
def test_rs_rounds_halves_up(x: int, k: int, expected: int) -> None:
    assert rs(one(x), k)[0] == expected


@given(INT62, st.integers(0, 61))
def test_rs_is_the_nearest_integer(x: int, k: int) -> None:
    assert rs(one(x), k)[0] == half_up(x, k)
    assert rs(one(x), np.array([k]))[0] == half_up(x, k)


@given(st.integers(-(1 << 31), 1 << 31), st.integers(-31, 62))
def test_rescale_shifts_either_way(x: int, k: int) -> None:
    assert rescale(one(x), k)[0] == (half_up(x, k) if k >= 0 else x << -k)


@pytest.mark.parametrize(("k", "same_as"), [(-100, -31), (-32, -31), (63, 62), (1000, 62)])
def test_rescale_clamps_its_shift(k: int, same_as: int) -> None:
    x = np.array([1, -1, 12345, -(1 << 31)], np.int64)
    assert rescale(x, k).tolist() == rescale(x, same_as).tolist()
    # A product has at most 61 bits: beyond 62 every one of them rounds to nothing.
    assert rescale(one((1 << 61) - 1), 1000)[0] == 0


@given(st.integers(0, (1 << 63) - 1))
def test_bit_length(x: int) -> None:
    assert bit_length(one(x))[0] == x.bit_length()


def test_bit_length_at_every_power() -> None:
    powers = np.array([0, *(1 << k for k in range(63)), *((1 << k) - 1 for k in range(64))])
    assert bit_length(powers).tolist() == [int(p).bit_length() for p in powers]


def test_saturate32() -> None:
    x = np.array([1 << 40, 1 << 31, (1 << 31) - 1, -(1 << 31), -(1 << 31) - 1, -(1 << 62)])
    top, bottom = (1 << 31) - 1, -(1 << 31)
    assert saturate32(x).tolist() == [top, top, top, bottom, bottom, bottom]


def slow_matmul(x: np.ndarray, weights: np.ndarray) -> list[list[int]]:
    return [[sum(map(int.__mul__, a, b)) for b in weights.tolist()] for a in x.tolist()]


@given(st.data(), st.integers(0, 36), st.integers(0, 20))
def test_matmul_is_exact(data: st.DataObject, x_bits: int, weight_bits: int) -> None:
    """Beyond 53 bits of x times row sum, float64 can only carry it in pieces."""
    n = data.draw(st.integers(1, 40))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    x = rng.integers(-(1 << x_bits), (1 << x_bits) + 1, (3, n))
    weights = rng.integers(-(1 << weight_bits), (1 << weight_bits) + 1, (5, n)).astype(np.int32)
    assert matmul_exact(x, weights).tolist() == slow_matmul(x, weights)


def test_matmul_where_float64_alone_would_be_wrong() -> None:
    x = np.array([[(1 << 37) - 1, 1, -(1 << 37)]], np.int64)
    weights = np.array([[(1 << 24) - 1, 1, 3], [-(1 << 24), 7, 1 - (1 << 23)]], np.int32)
    expected = slow_matmul(x, weights)
    plain = x.astype(np.float64) @ weights.T.astype(np.float64)
    assert plain.astype(np.int64).tolist() != expected
    assert matmul_exact(x, weights).tolist() == expected


def test_matmul_of_zeros_and_of_nothing() -> None:
    nothing = np.zeros((4, 9), np.int32)
    assert not matmul_exact(np.full((2, 9), 1 << 40), nothing).any()
    assert matmul_exact(np.zeros((0, 9), np.int64), nothing).shape == (0, 4)


@given(st.integers(0, 1 << 62))
def test_isqrt_ceil(x: int) -> None:
    root = math.isqrt(x)
    assert isqrt_ceil(one(x))[0] == root + (root * root < x)


def test_isqrt_ceil_around_squares() -> None:
    roots = [1, 2, 3, 94906265, 94906266, 94906267, (1 << 31) - 1, 2147483600]
    x = np.array([r * r + d for r in roots for d in (-1, 0, 1)], np.int64)
    expected = [math.isqrt(v) + (math.isqrt(v) ** 2 < v) for v in x.tolist()]
    assert isqrt_ceil(x).tolist() == expected
