"""Calibrated rounding: each weight's error is made good by the weights not yet rounded.

Minimises |(W - V) X|^2 over the code's values V, column by column, where X X^T = H comes from a
calibration text. The loss is then the sum over columns of (error / U_jj)^2, U as below, so a
group's scale is chosen by trial: the one with which rounding the group itself costs a row least.

Where the exact input differs from the chip's (the layers before were rounded too), the target is
what the exact input would have given: W first moves towards W (X_exact X^T) H^-1, the
least-squares answer to the chip's own input.

Sources: Frantar et al., "GPTQ", ICLR 2023; Li et al., "GPTAQ: efficient finetuning-free
quantization for asymmetric calibration", ICML 2025 (the moved target). The trial of scales is
ours.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from hardcast.quantize.code import Code
from hardcast.quantize.descent import descend, losses
from hardcast.quantize.products import inverse_factor, product
from hardcast.quantize.scales import TINY, Scales, coarse_scales, find_scales

DAMPING = 0.01  # of the mean diagonal, added to it: what a short text did not see stays put
SHIFT = 0.5  # of the way to the moved target: all of it fits the text more than the model
# Scales to try, of the one that clips nothing: the fewer values a code has, the more it gains
# from clipping. By the most values a code may have.
TRIALS = {
    4: np.array([0.36, 0.46, 0.56, 0.66, 0.76, 0.88], np.float32),
    16: np.array([0.64, 0.73, 0.82, 0.91, 1.0], np.float32),
    256: np.array([0.92, 0.95, 0.98, 1.0], np.float32),
}
HEADROOM = 1.05  # of a row's largest scale over what its weights need before errors reach them
STRIP = 64  # columns of a longer group whose errors reach each other one by one
BATCH = 512  # columns whose errors reach those behind them in one product
LONGEST_BLOCK = 256  # columns of a group whose scale is tried; longer ones keep the scale found


@dataclass(frozen=True)
class Hessian:
    """What a calibration text says about one input: how errors of its channels add up.

    damped: float64[in, in], H with its diagonal raised. diagonal: float32[in], of H itself.
    cross: float32[in, in] or None: W moves by SHIFT W cross H^-1 before it is rounded. Where few
    rows read a wide input, W cross is made without it (`Rounding.round`).
    """

    damped: np.ndarray
    diagonal: np.ndarray
    cross: np.ndarray | None

    def order(self, group: int) -> np.ndarray:
        """int64[in], columns in the order of rounding: loud groups first, loud columns first."""
        columns = len(self.diagonal)
        starts = np.arange(0, columns, group)
        loudness = np.add.reduceat(self.diagonal, starts)
        if columns % group:  # a short group comes last: the others then begin at its multiples
            loudness[-1] = -1
        parts = []
        for index in np.argsort(-loudness, kind="stable"):
            inside = np.arange(starts[index], min(starts[index] + group, columns))
            parts.append(inside[np.argsort(-self.diagonal[inside], kind="stable")])
        return np.concatenate(parts)

    def factor(self, order: np.ndarray, pool: Executor | None = None) -> np.ndarray:
        """float32[in, in], upper triangular U with (H[order][:, order])^-1 = U^T U."""
        return inverse_factor(self.damped[np.ix_(order, order)], pool).astype(np.float32)


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
    quiet = np.where(dead, mean * DAMPING, diagonal).astype(np.float32)
    return Hessian(damped, quiet, None if cross is None else cross.astype(np.float32))


@dataclass(frozen=True)
class Rounding:
    """One input's Hessian made ready for codes of one group size; shared by matrices and pieces.

    pull: float32[in, in], cross H^-1 with its columns in `order`, or None: a row at a time then.
    """

    hessian: Hessian
    group: int
    order: np.ndarray
    factor: np.ndarray
    pull: np.ndarray | None

    @staticmethod
    def of(hessian: Hessian, code: Code, rows: int = 0, pool: Executor | None = None) -> Rounding:
        """For matrices coded by `code`. rows: of all of them that read this input."""
        columns = len(hessian.diagonal)
        group = code.group(columns)
        order = hessian.order(group)
        factor = hessian.factor(order, pool)
        pull = None
        if hessian.cross is not None and rows > columns:  # fewer products than row by row
            ordered = product(hessian.cross[:, order], factor.T, pool)
            pull = product(ordered, factor, pool)
        return Rounding(hessian, group, order, factor, pull)

    def round(
        self, weights: np.ndarray, code: Code, crossed: np.ndarray | None = None
    ) -> tuple[np.ndarray, Scales]:
        """Values of the code (float32[out, in]) and scales for float32[out, in] weights.

        crossed: float32[out, in], weights @ cross, where the Hessian leaves it to the caller.
        Rows are independent: a matrix may come in pieces.
        """
        # Transposed, so that a column is one contiguous row of memory.
        left = np.ascontiguousarray(weights.T[self.order])
        moved = self._moved(weights, crossed)
        if moved is not None:
            left += np.float32(SHIFT) * moved.T
            weights = np.empty_like(weights)
            weights[:, self.order] = left.T
        trial = self.group <= LONGEST_BLOCK and code.kind != "asymmetric"
        if trial:
            scales = coarse_scales(weights, code, HEADROOM)
        else:
            scales = find_scales(weights, self.hessian.diagonal, code)
        values = np.empty_like(left)
        chosen = scales.scales.copy()
        minima = scales.minima
        batch = max(BATCH // self.group, 1) * self.group
        for start in range(0, len(left), batch):
            end = min(start + batch, len(left))
            errors = np.empty((end - start, len(weights)), np.float32)
            for first in range(start, end, self.group):
                last = min(first + self.group, end)
                group = int(self.order[first]) // self.group
                block, here = left[first:last], slice(first - start, last - start)
                if minima is not None:
                    block -= minima[:, group]
                steps = scales.steps[:, group]
                if trial:
                    chosen[:, group] = self._try(block, scales, code, first, last)
                    steps = (chosen[:, group] * scales.unit).astype(np.float32)
                values[first:last], errors[here] = self._descend(block, steps, code, first, last)
                if last < end:
                    left[last:end] -= self.factor[first:last, last:end].T @ errors[here]
            if end < len(left):
                left[end:] -= self.factor[start:end, end:].T @ errors
        result = np.empty_like(values)
        result[self.order] = values
        return np.ascontiguousarray(result.T), scales.replace(chosen)

    def _moved(self, weights: np.ndarray, crossed: np.ndarray | None) -> np.ndarray | None:
        """What the moved target adds to the weights, over SHIFT: float32[out, in] in `order`."""
        if self.pull is not None:
            return weights @ self.pull
        if self.hessian.cross is not None:
            crossed = weights @ self.hessian.cross
        return None if crossed is None else crossed[:, self.order] @ self.factor.T @ self.factor

    def _try(
        self, block: np.ndarray, scales: Scales, code: Code, first: int, last: int
    ) -> np.ndarray:
        """The 8-bit scale of one group with the least loss, for each row: uint8[out]."""
        largest = np.maximum(np.abs(block).max(axis=0) / code.reach, TINY)
        trials = next(trials for most, trials in TRIALS.items() if len(code.values) <= most)
        tried = np.rint(trials[:, None] * (largest / scales.unit)).clip(1, 255)  # [trials, out]
        steps = (tried * scales.unit).astype(np.float32)
        loss = losses(block, steps, self.factor[first:last, first:last], code)
        best = loss.argmin(axis=0)
        return tried[best, np.arange(len(best))].astype(np.uint8)

    def _descend(
        self, left: np.ndarray, steps: np.ndarray, code: Code, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and errors over U_jj of the columns first..last of one group.

        left: float32[columns, out], changed; steps: float32[out]. Both results: as left.
        """
        factor = self.factor[first:last, first:last]
        if last - first <= LONGEST_BLOCK:
            return descend(left, steps, factor, code)
        values, errors = np.empty_like(left), np.empty_like(left)
        for start in range(0, len(left), STRIP):  # errors leave a strip in one product
            strip = slice(start, start + STRIP)
            after = slice(start + STRIP, None)
            values[strip], errors[strip] = descend(left[strip], steps, factor[strip, strip], code)
            left[after] -= factor[strip, after].T @ errors[strip]
        return values, errors
