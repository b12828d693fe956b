"""Calibrated rounding: each weight's error is made good by the weights not yet rounded.

Minimises |(W - V) X|^2 over the code's values V, column by column, where X X^T = H comes from a
calibration text. Where the exact input differs from the chip's (the layers before were rounded
too), the target is what the exact input would have given: W first moves towards
W (X_exact X^T) H^-1, the least-squares answer to the chip's own input.

Sources: Frantar et al., "GPTQ", ICLR 2023; Li et al., "GPTAQ: efficient finetuning-free
quantization for asymmetric calibration", ICML 2025 (the moved target).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from hardcast.quantize.code import Code
from hardcast.quantize.scales import Scales, find_scales, spread

DAMPING = 0.01  # of the mean diagonal, added to it: what a short text did not see stays put
SHIFT = 0.5  # of the way to the moved target: all of it fits the text more than the model
BLOCK = 64  # columns rounded before their errors reach the rest in one product


@dataclass(frozen=True)
class Hessian:
    """What a calibration text says about one input: how errors of its channels add up.

    diagonal: float32[in]. order: int64[in], the columns as they are rounded, loudest first.
    factor: float32[in, in], upper triangular U with (H[order][:, order])^-1 = U^T U.
    shift: float32[in, in] or None: W moves by W @ shift before it is rounded.
    """

    diagonal: np.ndarray
    order: np.ndarray
    factor: np.ndarray
    shift: np.ndarray | None


def hessian(gram: np.ndarray, cross: np.ndarray | None) -> Hessian:
    """The Hessian of an input from its sums over a calibration text.

    gram: float64[in, in], X X^T of the chip's input X; cross: float64[in, in],
    (X_exact - X) X^T, or None. Channels that are always 0 (dead) cannot matter: they get the
    mean of the others, and their weights round to nearest.
    """
    diagonal = np.diag(gram).copy()
    dead = diagonal <= 0
    mean = float(diagonal[~dead].mean()) if not dead.all() else 1.0
    damped = gram.copy()
    damped[np.diag_indices_from(damped)] += np.where(dead, mean, DAMPING * mean)
    order = np.argsort(-np.where(dead, 0, diagonal), kind="stable")
    # H = R R^T with R upper triangular is Cholesky's of H turned round; H^-1 = R^-T R^-1.
    turned = damped[np.ix_(order, order)][::-1, ::-1]
    upper = np.linalg.cholesky(turned)[::-1, ::-1]
    factor = np.linalg.inv(upper).astype(np.float32)
    shift = None
    if cross is not None:
        shift = (SHIFT * np.linalg.solve(damped, cross.T).T).astype(np.float32)
    diagonal = np.where(dead, mean * DAMPING, diagonal).astype(np.float32)
    return Hessian(diagonal, order, factor, shift)


def round_calibrated(
    weights: np.ndarray, hessian: Hessian, code: Code, pool: Executor | None = None
) -> tuple[np.ndarray, Scales]:
    """Values of the code (float32[out, in]) and scales for float32[out, in] weights.

    Rows are independent: a matrix may come in pieces. pool: threads to use.
    """
    if hessian.shift is not None:
        weights = weights + weights @ hessian.shift
    scales = find_scales(weights, hessian.diagonal, code, pool)
    steps = spread(scales.steps, code, weights.shape[1])
    minima = scales.minima
    if minima is not None:
        weights = weights - spread(minima, code, weights.shape[1])
    return _descend(weights, steps, hessian, code), scales


def _descend(weights: np.ndarray, steps: np.ndarray, hessian: Hessian, code: Code) -> np.ndarray:
    """Rounds column by column in the Hessian's order, each error passed on to the rest."""
    order, factor = hessian.order, hessian.factor
    # Transposed, so that a column is one contiguous row of memory.
    left = np.ascontiguousarray(weights.T[order])
    step = np.ascontiguousarray(steps.T[order])
    values = np.empty_like(left)
    for first in range(0, len(order), BLOCK):
        last = min(first + BLOCK, len(order))
        errors = _descend_block(left, step, values, factor, code.nearest, first, last)
        if last < len(order):
            left[last:] -= factor[first:last, last:].T @ errors
    result = np.empty_like(values)
    result[order] = values
    return np.ascontiguousarray(result.T)


def _descend_block(
    left: np.ndarray,
    step: np.ndarray,
    values: np.ndarray,
    factor: np.ndarray,
    nearest: Callable[[np.ndarray], np.ndarray],
    first: int,
    last: int,
) -> np.ndarray:
    """Columns first..last; returns their scaled errors, float32[last - first, out]."""
    errors = np.empty((last - first, left.shape[1]), np.float32)
    for j in range(first, last):
        values[j] = nearest(left[j] / step[j])
        error = errors[j - first]
        np.multiply(values[j], step[j], out=error)
        np.subtract(left[j], error, out=error)
        error /= factor[j, j]
        if j + 1 < last:
            left[j + 1 : last] -= factor[j, j + 1 : last, None] * error
    return errors
