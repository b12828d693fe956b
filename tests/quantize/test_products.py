"""The products of calibrated rounding: right, and the same whatever the number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hardcast.quantize import products

SIZES = [1, 5, 130, 257, 600]


def inputs(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("columns", SIZES)
def test_sums_over_tokens(columns: int) -> None:
    x, y = inputs(0, 2500, columns), inputs(1, 2500, columns)
    found = []
    for threads in (1, 3):
        with ThreadPoolExecutor(threads) as pool:
            found.append((products.gram(x, pool), products.cross(y, x, pool)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    exact = [a.T.astype(np.float64) @ x.astype(np.float64) for a in (x, y)]
    for got, wanted in zip(found[0], exact, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-2)
    np.testing.assert_array_equal(found[0][0], found[0][0].T)


@pytest.mark.parametrize("columns", SIZES)
def test_inverse_factor(columns: int) -> None:
    x = inputs(2, 2 * columns, columns).astype(np.float64)
    matrix = x.T @ x + np.eye(columns)
    place = matrix.copy()
    factor = products.inverse_factor(place)
    assert factor is place
    np.testing.assert_array_equal(factor, np.triu(factor))
    np.testing.assert_allclose(factor @ matrix @ factor.T, np.eye(columns), atol=1e-9)
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_allclose(products.inverse_factor(matrix.copy(), pool), factor, rtol=1e-9)


@pytest.mark.parametrize("rows", [1, 512, 1300])
def test_product(rows: int) -> None:
    left, right = inputs(3, rows, 40), inputs(4, 40, 70)
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_allclose(products.product(left, right, pool), left @ right, atol=1e-4)
