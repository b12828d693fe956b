"""One group of columns, rounded one after the other: each one's error goes on to those after it.

The NumPy functions are the definition; the native ones (native/descend.cpp) give the same bits,
since each sum is made in the order of the columns and every operation is rounded by itself.
"""

from __future__ import annotations

import numpy as np

from hardcast.quantize import _native
from hardcast.quantize.code import Code


def descend(
    left: np.ndarray, steps: np.ndarray, factor: np.ndarray, code: Code
) -> tuple[np.ndarray, np.ndarray]:
    """Rounds columns to values times steps. Returns (values, errors over factor's diagonal).

    left: float32[columns, out], what is to be rounded; steps: float32[out], > 0; factor:
    float32[columns, columns], upper triangular: column j's error takes factor[j, k] times itself
    from column k. Both results: float32[columns, out].
    """
    values, errors = np.empty_like(left), np.empty_like(left)
    _native.descend(*_contiguous(left, steps, factor), *_levels(code), values, errors)
    return values, errors


def losses(left: np.ndarray, steps: np.ndarray, factor: np.ndarray, code: Code) -> np.ndarray:
    """The sum of squares of `descend`'s errors for each of several steps: float32[trials, out].

    steps: float32[trials, out]; the rest as in `descend`.
    """
    found = np.empty_like(steps)
    _native.losses(*_contiguous(left, steps, factor), *_levels(code), found)
    return found


def descend_numpy(
    left: np.ndarray, steps: np.ndarray, factor: np.ndarray, code: Code
) -> tuple[np.ndarray, np.ndarray]:
    """What `descend` gives, by NumPy."""
    left, inverse = left.copy(), 1 / steps
    values, errors = np.empty_like(left), np.empty_like(left)
    for j in range(len(left)):
        values[j] = code.nearest(left[j] * inverse)
        errors[j] = (left[j] - values[j] * steps) / factor[j, j]
        left[j + 1 :] -= factor[j, j + 1 :, None] * errors[j]
    return values, errors


def losses_numpy(left: np.ndarray, steps: np.ndarray, factor: np.ndarray, code: Code) -> np.ndarray:
    """What `losses` gives, by NumPy."""
    found = np.zeros_like(steps)
    for trial, sums in zip(steps, found, strict=True):
        for error in descend_numpy(left, trial, factor, code)[1]:
            sums += error * error
    return found


def _contiguous(*arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    left, steps, factor = (np.ascontiguousarray(array) for array in arrays)
    return left, steps, factor


def _levels(code: Code) -> tuple[np.ndarray, bool]:
    """The values of a code, and whether they are evenly spaced integers: ties then go to even."""
    return code.values, code.kind != "codebook"
