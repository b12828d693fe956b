"""Exact integer primitives on NumPy arrays: rounding shifts, bit lengths, matrix products."""

from __future__ import annotations

import numpy as np

CARRIER_BITS = 53  # float64 holds every integer below 2^53 exactly


def rs(x: np.ndarray, k: int | np.ndarray) -> np.ndarray:
    """Rounding shift: floor((x + 2^(k-1)) / 2^k), half up, for k >= 0. The chip's only rounding."""
    return (x + ((np.int64(1) << k) >> 1)) >> k


def rescale(x: np.ndarray, k: int | np.ndarray) -> np.ndarray:
    """rs(x, k) where k >= 0, an exact shift left by -k where k < 0; k is clamped to -31..62.

    The caller guarantees that the result fits int64; for MATVEC golden/bounds.py proves it.
    """
    k = np.clip(k, -31, 62)
    return rs(x, np.maximum(k, 0)) << np.maximum(np.negative(k), 0)


def bit_length(x: np.ndarray) -> np.ndarray:
    """Bits needed for each x >= 0 (0 for 0), int64 of x's shape."""
    rest = np.asarray(x, np.int64).copy()
    length = np.zeros(rest.shape, np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        high = rest >> step > 0
        length += step * high
        rest = np.where(high, rest >> step, rest)
    return length + (rest > 0)


def saturate32(x: np.ndarray) -> np.ndarray:
    """Clamps int64 to int32's range, element by element."""
    return np.clip(x, -(1 << 31), (1 << 31) - 1)


def matmul_exact(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """x @ weights.T over the integers.

    x: int64[tokens, in], weights: int32[out, in]. Returns int64[tokens, out].
    float64 BLAS carries the integers: every partial sum is proven below 2^53 first, and x is
    split in two where it is not. The caller guarantees that the true sum fits int64.
    """
    row_sum = max(int(np.abs(weights).sum(axis=1, dtype=np.int64).max(initial=0)), 1)
    return _matmul(x, weights.T.astype(np.float64), row_sum)


def _matmul(x: np.ndarray, carrier: np.ndarray, row_sum: int) -> np.ndarray:
    largest = int(np.abs(x).max(initial=0))
    if largest * row_sum < 1 << CARRIER_BITS:
        return np.rint(x.astype(np.float64) @ carrier).astype(np.int64)
    split = max(CARRIER_BITS - row_sum.bit_length() - 1, 1)
    low = x & ((1 << split) - 1)
    return (_matmul(x >> split, carrier, row_sum) << split) + _matmul(low, carrier, row_sum)


def isqrt_ceil(x: np.ndarray) -> np.ndarray:
    """Smallest integer r with r*r >= x, for int64 x in 0..2^62."""
    root = np.sqrt(x.astype(np.float64)).astype(np.int64)
    root = np.where(root * root > x, root - 1, root)  # the float root is within one of the truth
    root = np.where((root + 1) * (root + 1) <= x, root + 1, root)
    return root + (root * root < x)
