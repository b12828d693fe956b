"""The large products of calibrated rounding, shared among the threads of a pool.

Pieces do not depend on how many threads there are, so neither do results.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

SMALL = 128  # columns of a factor up to which LAPACK is as quick as products
PIECE_ROWS = 512  # of a product that threads share
PIECE_COLUMNS = 256  # of a sum over tokens that threads share
TOKENS = 2048  # whose products are added in float32 before they go to float64


def inverse_factor(matrix: np.ndarray, pool: Executor | None = None) -> np.ndarray:
    """Upper triangular U with matrix^-1 = U^T U, in the place of float64[n, n] matrix.

    matrix: symmetric, positive; it is overwritten and returned, since squares of the widest input
    are what a build's memory holds. By halves, so that nearly all of it is products, which a pool
    can share: [[A, B], [B^T, D]] = R R^T with R = U^-1 = [[R1, S], [0, R2]] gives U2 from D,
    S = B U2^T, U1 from A - S S^T, and U's upper right is -U1 S U2. The sixth of a second that
    LAPACK's own Cholesky takes at 1536 columns grows to four at 4864, on one thread.
    """
    n = len(matrix)
    if n <= SMALL:
        # R is upper triangular: Cholesky's factor of the matrix turned round, turned back.
        matrix[:] = np.triu(np.linalg.inv(np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]))
        return matrix
    half = n // 2
    above, right, below = matrix[:half, :half], matrix[:half, half:], matrix[half:, half:]
    inverse_factor(below, pool)
    between = product(right, below.T, pool)
    above -= product(between, between.T, pool)
    inverse_factor(above, pool)
    right[:] = product(product(above, between, pool), below, pool)
    np.negative(right, out=right)
    matrix[half:, :half] = 0
    return matrix


def product(left: np.ndarray, right: np.ndarray, pool: Executor | None = None) -> np.ndarray:
    """left @ right, rows shared out among a pool's threads in pieces that don't depend on it."""
    if pool is None or len(left) <= PIECE_ROWS:
        return left @ right
    result = np.empty((len(left), right.shape[1]), left.dtype)

    def piece(first: int) -> None:
        rows = slice(first, first + PIECE_ROWS)
        np.matmul(left[rows], right, out=result[rows])

    list(pool.map(piece, range(0, len(left), PIECE_ROWS)))
    return result


def gram(x: np.ndarray, pool: Executor) -> np.ndarray:
    """X^T X of float32[tokens, n]: float64[n, n]. Only the upper half is multiplied.

    numpy hands `x.T @ x` to BLAS's syrk, which takes as long here as the whole product.
    """
    n = x.shape[1]
    result = np.empty((n, n))

    def piece(first: int) -> None:
        last = min(first + PIECE_COLUMNS, n)
        total = sum_over_tokens(x[:, first:last], x[:, first:])
        result[first:last, first:] = total
        result[last:, first:last] = total[:, last - first :].T

    list(pool.map(piece, range(0, n, PIECE_COLUMNS)))
    return result


def cross(y: np.ndarray, x: np.ndarray, pool: Executor) -> np.ndarray:
    """Y^T X of float32[tokens, n] each: float64[n, n]."""
    result = np.empty((y.shape[1], x.shape[1]))

    def piece(first: int) -> None:
        columns = slice(first, first + PIECE_COLUMNS)
        result[columns] = sum_over_tokens(y[:, columns], x)

    list(pool.map(piece, range(0, y.shape[1], PIECE_COLUMNS)))
    return result


def sum_over_tokens(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Y^T X, float64[a, b], of float32[tokens, a] and float32[tokens, b]."""
    total = np.zeros((y.shape[1], x.shape[1]))
    for first in range(0, len(y), TOKENS):
        part = slice(first, first + TOKENS)
        total += y[part].T @ x[part]
    return total
