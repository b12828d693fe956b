"""Attention's sum of weighted values: exact on every path, whatever the exponents' spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.engine import _native

PATHS = _native.available_paths()


def check(p: np.ndarray, exponents: np.ndarray, values: np.ndarray) -> None:
    expected = ((p.astype(np.int64) << exponents)[:, None] * values).sum(axis=0)
    for path in PATHS:
        found = _native.weighted_sum(p, exponents, values, path)
        np.testing.assert_array_equal(found, expected, path)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 70),
    dim=st.integers(1, 140),
    least=st.integers(0, 15),
    spread=st.integers(0, 15),
    largest=st.sampled_from([1, 300, 4095]),
)
@settings(max_examples=150, deadline=None)
def test_equals_numpy(
    seed: int, rows: int, dim: int, least: int, spread: int, largest: int
) -> None:
    rng = np.random.default_rng(seed)
    p = rng.integers(0, largest, rows, dtype=np.int32, endpoint=True)
    high = min(least + spread, 15)
    exponents = rng.integers(least, high, rows, dtype=np.uint8, endpoint=True)
    check(p, exponents, rng.integers(-128, 127, (rows, dim), dtype=np.int8, endpoint=True))


@pytest.mark.parametrize("end", [-128, 127])
@pytest.mark.parametrize("exponents", [[0], [15], [0, 15], [0, 11], [0, 12], [3, 14, 3]])
@pytest.mark.parametrize("rows", [1, 2, 3, 64, 2048])
def test_extremes(end: int, exponents: list[int], rows: int) -> None:
    """All terms and values at their largest: the int32 budget, its flushes, and rows beyond it."""
    p = np.full(rows, 4095, np.int32)
    spread = np.resize(np.array(exponents, np.uint8), rows)
    check(p, spread, np.full((rows, 64), end, np.int8))
