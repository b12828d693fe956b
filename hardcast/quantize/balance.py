"""Keys and queries brought to one range, pair by pair: a change of units that no score can see.

q, k and v are one int8 block a head, so a channel whose range is far above the others' drowns them.
RoPE rotates the channels i and i + head_dim/2 of a head together, and a score is a sum over
channels of q k: so a pair of k may be divided by a number and the same pair of q multiplied by it,
and every score stays what it was. Powers of two only move the exponent of a row (or of a head
norm's gain), so a stored grid stays exact and the chip is the same size.

Ranges come from the weights, not from a text: a row's bias, and the length of the row times the
norm's gain, which is its standard deviation over inputs without direction. They are counted in
integers, so that an image has one digest on all machines.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardcast.checkpoint.base import Checkpoint, Grid, GridForm
from hardcast.program.program import Program
from hardcast.program.step import HeadNorm, Matvec, Norm
from hardcast.quantize.folding import Plain, Rotated, Source, can_rotate

FRACTION = 12  # bits of a weight times a gain that are counted
LARGEST = 1 << 24  # and the most that is: a row's sum of squares then fits int64
MOST = 8  # a pair's exponent at most: bits that q may gain and k lose
PIECE = 1 << 22  # weights in memory as floats at a time


def chip_basis(checkpoint: Checkpoint, program: Program, rotate: bool) -> Source:
    """A checkpoint's weights in the basis that the chip has them in: rotated or not, balanced.

    rotate: asked for, and done where the program lets it be (can_rotate).
    """
    plain = Plain(checkpoint, program)
    source = Rotated(checkpoint, program) if rotate and can_rotate(program) else plain
    return Balanced(source, exponents(plain))


class Balanced:
    """A source with exponents: of each row of q_proj and k_proj, and of their biases and gains."""

    def __init__(self, source: Source, exponents: dict[str, np.ndarray]) -> None:
        self.program, self._source, self._exponents = source.program, source, exponents

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        """As Source.tensor: times 2^exponent."""
        tensor = self._source.tensor(name, rows)
        if name not in self._exponents:
            return tensor
        exponents = self._exponents[name][rows or slice(None)]
        return np.ldexp(tensor, exponents.reshape(-1, *[1] * (tensor.ndim - 1)))

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """As Source.grid: the same codes, scales and minima times 2^exponent."""
        grid = self._source.grid(name, rows)
        if grid is None or name not in self._exponents:
            return grid
        exponents = self._exponents[name][rows or slice(None), None]
        minimum = None if grid.minimum is None else np.ldexp(grid.minimum, exponents)
        return replace(grid, scale=np.ldexp(grid.scale, exponents), minimum=minimum)

    def grid_form(self, name: str) -> GridForm | None:
        """As Source.grid_form."""
        return self._source.grid_form(name)


def exponents(source: Source) -> dict[str, np.ndarray]:
    """int32 exponents by tensor: of q upwards, of k downwards, the same for a pair.

    source: the checkpoint's own weights. Of each layer's q_proj and k_proj rows and biases; where
    heads are normed, of the norms' gains instead.
    """
    shape = source.program.shape
    found: dict[str, np.ndarray] = {}
    for layer in _layers(source.program):
        q, k = (_Side(source, *layer[buffer]) for buffer in "qk")
        half = shape.head_dim // 2
        of_k = k.range.reshape(-1, 2, half).max(axis=1)  # [kv heads or 1, half]
        of_q = q.range.reshape(len(of_k), -1, 2, half).max(axis=(1, 2))
        pair = _exponent(of_k, of_q)
        whole = np.tile(pair, (1, 2))  # [kv heads or 1, head_dim]
        found |= dict.fromkeys(k.names, -whole.reshape(-1))
        repeats = len(q.range) // whole.size
        found |= dict.fromkeys(q.names, np.repeat(whole, repeats, axis=0).reshape(-1))
    return found


class _Side:
    """q or k of a layer. names: the tensors that take the exponents; range: float64[rows]."""

    def __init__(self, source: Source, gain: str, step: Matvec, norm: HeadNorm | None) -> None:
        if norm is not None:
            self.names = [norm.gain]
            self.range = np.abs(source.tensor(norm.gain)).astype(np.float64)
            return
        self.names = [step.matrix] + ([step.bias] if step.bias else [])
        self.range = _lengths(source, step.matrix, source.tensor(gain))
        if step.bias:
            self.range = self.range + np.abs(source.tensor(step.bias))


def _layers(program: Program) -> list[dict[str, tuple[str, Matvec, HeadNorm | None]]]:
    """Of each layer, by buffer: the gain before q_proj or k_proj, its step, its head norm's."""
    found: list[dict[str, tuple[str, Matvec, HeadNorm | None]]] = []
    gain = ""
    for step in program.steps:
        match step:
            case Norm():
                gain = step.gain
            case Matvec(dst="q"):
                found.append({"q": (gain, step, None)})
            case Matvec(dst="k"):
                found[-1]["k"] = (gain, step, None)
            case HeadNorm() if step.buffer in found[-1]:
                before, product, _ = found[-1][step.buffer]
                found[-1][step.buffer] = (before, product, step)
    return found


def _lengths(source: Source, matrix: str, gain: np.ndarray) -> np.ndarray:
    """|w g|_2 of each row: float64[out_features], the same bytes on every machine.

    Infinite for a row that no model has: it is left as it is, and nothing overflows.
    """
    out_features, in_features = source.program.matrices()[matrix]
    step = max(PIECE // in_features, 1)
    sums, wild = np.empty(out_features, np.int64), np.empty(out_features, bool)
    for first in range(0, out_features, step):
        rows = slice(first, min(first + step, out_features))
        scaled = np.rint(source.tensor(matrix, rows).astype(np.float64) * gain * (1 << FRACTION))
        counted = np.clip(scaled, -LARGEST, LARGEST).astype(np.int64)
        sums[rows] = (counted * counted).sum(axis=1)
        wild[rows] = np.abs(scaled).max(axis=1) > LARGEST
    return np.where(wild, np.inf, np.sqrt(sums.astype(np.float64)) / (1 << FRACTION))


def _exponent(of_k: np.ndarray, of_q: np.ndarray) -> np.ndarray:
    """round(log2(sqrt(of_k / of_q))): int32, 0 where either is 0 or infinite.

    Exact: no logarithm is taken.
    """
    live = (of_k > 0) & (of_q > 0) & np.isfinite(of_k) & np.isfinite(of_q)
    ratio = np.where(live, of_k, 1.0) / np.where(live, of_q, 1.0)
    above = np.frexp(ratio)[1]  # 2^(above - 1) <= ratio < 2^above
    return np.clip(above >> 1, -MOST, MOST).astype(np.int32)
