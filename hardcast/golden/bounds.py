"""Proves the largest value of every buffer from the weights themselves, before anything runs.

The bounds walk the program once, in order, beside the quantiser. Each is an upper bound on the
absolute real value, as an integer with FRACTION fraction bits, one an element of the buffer.

* After a NORM, Cauchy-Schwarz: |w.(x g)| / |x| <= |w g|_2, plus the block quantiser's error,
  at most 1/16 of a block's norm (its largest code has 7 bits, 64 elements), plus NORM's own
  rounding: together |w|_2 max|g| / 8. Any subset of the terms obeys the same bound, so every
  order of additions does.
* Attention is a convex combination of v. |silu(g)| <= |g|. |RoPE| <= sqrt(2) max.
* o_proj and down_proj: sum |w| bound, plus 1/32 for the quantiser's and tables' rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hardcast.errors import HardcastError
from hardcast.image.matrix import Matrix
from hardcast.numerics.blocks import MAGNITUDE_BITS
from hardcast.numerics.fixed import isqrt_ceil
from hardcast.numerics.points import Points
from hardcast.program import step as kinds
from hardcast.program.program import Program

FRACTION = 12
SUM_BITS = 62 - MAGNITUDE_BITS  # of a row's sum of |integers|: int64 then holds any product
ACCUMULATOR = "accumulator"


@dataclass
class Bounds:
    """Give every step to `step` in order; then `widths` holds the proof's result.

    gains: int64 at points.gain for NORM and HEAD_NORM, biases: real value at FRACTION.
    """

    program: Program
    points: Points
    largest: dict[str, int] = field(default_factory=dict)  # buffer -> bound at FRACTION
    sums: dict[str, tuple[int, str]] = field(default_factory=dict)  # matrix -> sum_bits, src
    _now: dict[str, np.ndarray] = field(default_factory=dict)
    _gain: np.ndarray | None = None
    _scaled: int = 0  # largest |x g| that NORM quantises, at FRACTION

    def step(
        self,
        step: kinds.Step,
        matrix: Matrix | None = None,
        gain: np.ndarray | None = None,
        bias: np.ndarray | None = None,
    ) -> None:
        """Bounds one step. matrix, gain, bias: what the step reads, as it is in the image."""
        shape = self.program.shape
        match step:
            case kinds.Embed():
                assert matrix is not None
                most = [
                    _real(part, np.abs(part.integers()).max(axis=1).astype(object)).max()
                    for part in matrix.chunks()
                ]
                self._put(step.dst, np.full(shape.hidden_size, max(most), object))
            case kinds.Norm():
                assert gain is not None
                self._gain = np.abs(gain)
                x = int(max(self._now[step.src])) * int(self._gain.max())
                self._scaled = max(self._scaled, x >> self.points.gain)
            case kinds.HeadNorm():
                assert gain is not None
                one = np.abs(gain).astype(object) << FRACTION
                one = one + (one >> 5) >> self.points.gain
                self._put(step.buffer, np.tile(one + 1, step.num_heads))
            case kinds.Matvec():
                assert matrix is not None
                rows = self._matvec(step, matrix)
                self._put(step.dst, rows if bias is None else rows + np.abs(bias).astype(object))
            case kinds.Rope():
                largest = self._now[step.buffer] * 3 // 2
                self._put(step.buffer, np.full(len(largest), largest.max(), object))
            case kinds.Attend():
                kv = self._now["v"].reshape(shape.num_key_value_heads, shape.head_dim)
                repeat = shape.num_attention_heads // shape.num_key_value_heads
                self._put(step.dst, _rounded(np.repeat(kv, repeat, axis=0).reshape(-1)))
            case kinds.GateMul():
                f = self._now[step.gate] * self._now[step.up] >> FRACTION
                self._put(step.dst, _rounded(f))
            case kinds.Add():
                self._put(step.dst, self._now[step.dst] + self._now[step.src])

    def _put(self, buffer: str, bound: np.ndarray) -> None:
        self._now[buffer] = bound
        self.largest[buffer] = max(self.largest.get(buffer, 0), int(bound.max()))

    def _matvec(self, step: kinds.Matvec, matrix: Matrix) -> np.ndarray:
        self.sums[matrix.name] = (matrix.sum_bits(), step.src)
        return np.concatenate([self._matvec_rows(step, part) for part in matrix.chunks()])

    def _matvec_rows(self, step: kinds.Matvec, matrix: Matrix) -> np.ndarray:
        weights = np.abs(matrix.integers())
        if step.src == "h":
            assert self._gain is not None
            norm = _row_norm(weights, self._gain, self.points.gain)
            most = np.full_like(self._gain, self._gain.max())
            rows = norm + (_row_norm(weights, most, self.points.gain) >> 3)
        else:
            rows = _weighted_sum(weights, self._now[step.src])
            rows = rows + (rows >> 5)
        return _real(matrix, rows, FRACTION if step.src == "h" else 0)

    def widths(self) -> dict[str, int]:
        """Bits with sign of each buffer at its point, and of each matrix's accumulator.

        A buffer whose bits are at most 32 can never saturate. Raises HardcastError for a matrix
        whose accumulator could exceed int64.
        """
        points = self.points
        at = {"x": points.residual, "y": points.residual, "q": points.qk, "k": points.qk}
        at |= {"v": points.v, "a": points.a, "g": points.gate, "u": points.gate}
        at |= {"f": points.f, "logits": points.logits}
        at["h"] = points.residual + points.norm_extra
        bound = {**self.largest, "h": self._scaled}
        found = {buffer: _bits(bound[buffer], at[buffer]) for buffer in at}
        for name, (sum_bits, src) in self.sums.items():
            if sum_bits > SUM_BITS:
                raise HardcastError(f"{name}: rows add up to {sum_bits} bits, at most {SUM_BITS}")
            found[f"{ACCUMULATOR}.{name}"] = sum_bits + min(found[src], MAGNITUDE_BITS + 1)
        return found


def _bits(bound: int, point: int) -> int:
    """Bits with sign of a bound (at FRACTION) held at `point`."""
    at_point = bound << point if point >= 0 else bound
    return ((at_point >> FRACTION) + 1).bit_length() + 1


def _rounded(bound: np.ndarray) -> np.ndarray:
    """Room for a step's own table and rounding errors: 1/64 and one unit."""
    return bound + (bound >> 6) + 1


def _row_norm(weights: np.ndarray, gain: np.ndarray, gain_point: int) -> np.ndarray:
    """Upper bound of sqrt(sum (w g)^2) of each row, whole integers (object)."""
    product_bits = int(weights.max(initial=0)).bit_length() + int(gain.max(initial=0)).bit_length()
    room = (62 - weights.shape[1].bit_length()) // 2
    drop = max(product_bits - room, 0)
    product = (weights.astype(np.int64) * gain + ((1 << drop) - 1)) >> drop
    norm = isqrt_ceil((product * product).sum(axis=1)).astype(object) << drop
    return (norm >> gain_point) + 1


def _weighted_sum(weights: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Upper bound of sum |w| b of each row (object), b at FRACTION."""
    row_bits = int(weights.sum(axis=1, dtype=np.int64).max(initial=0)).bit_length()
    drop = max(row_bits + int(bound.max()).bit_length() - 62, 0)
    coarse = ((bound >> drop) + 1).astype(np.int64)
    return (weights.astype(np.int64) @ coarse).astype(object) << drop


def _real(matrix: Matrix, rows: np.ndarray, fraction: int = FRACTION) -> np.ndarray:
    """rows * M * 2^(fraction - e), rounded up (object)."""
    multiplier = matrix.row_multiplier.astype(object)
    shift = matrix.row_shift.astype(object) - fraction
    product = rows * multiplier
    return np.array(
        [(p >> s) + 1 if s >= 0 else p << -s for p, s in zip(product, shift, strict=True)], object
    )
