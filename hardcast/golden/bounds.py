"""Proves the largest value of every buffer from the weights themselves, before anything runs.

The bounds walk the program once, in order, beside the quantiser. Each is an upper bound on the
absolute real value that a stored integer stands for, as an integer with FRACTION fraction bits,
one an element of the buffer. Every rounding to a buffer's point adds half a unit of that point.

* After a NORM, Cauchy-Schwarz: |w.(x g)| / |x| <= |w g|_2. The block quantiser adds at most
  |w|_2 max|g| / 16 (64 elements, each wrong by half a unit, the largest at least 64 units);
  NORM's own rounding half a unit for each x that is not 0, so at most |w|_2 / 2 units, since
  those x are integers; 1/rms is wrong by less than 2^-9 of it. Any subset of the terms obeys
  the same bound, so every order of additions does.
* a, f, k, v are quantised in blocks: an element may be wrong by 1/127 of its block's largest,
  however small it is itself; 1/64 of the block's largest bound is added.
* Attention is a convex combination of v; its reciprocal is right to 1/512. |g t(g)| <= |g|.
  |RoPE| <= sqrt(2) max.
* o_proj and down_proj: sum |w| bound, and half of what MATVEC's first rounding drops.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hardcast.errors import HardcastError
from hardcast.golden.steps import PRODUCT_BITS
from hardcast.image.matrix import Matrix, row_blocks
from hardcast.numerics.blocks import BLOCK, MAGNITUDE_BITS
from hardcast.numerics.fixed import isqrt_ceil
from hardcast.numerics.points import Points
from hardcast.program import step as kinds
from hardcast.program.program import Program

FRACTION = 12
SUM_BITS = 62 - MAGNITUDE_BITS  # of a row's sum of |integers|: int64 then holds any product
WIDEST = 62  # bits that a MATVEC's result may be proven to need before it saturates to int32
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
        """Bounds one step. matrix, gain, bias: what the step reads, as it is in the image.

        Raises HardcastError for a matrix with which an accumulator could exceed int64.
        """
        shape = self.program.shape
        match step:
            case kinds.Embed():
                assert matrix is not None
                most = [
                    _real(part, _magnitudes(part).max(axis=1).astype(object)).max()
                    for part in matrix.chunks()
                ]
                largest = max(most) + _half(self.points.residual)
                self._put(step.dst, np.full(shape.hidden_size, largest, object))
            case kinds.Norm():
                assert gain is not None
                self._gain = np.abs(gain)
                self._now.pop(step.dst, None)
                x = int(max(self._now[step.src])) * int(self._gain.max())
                self._scaled = max(self._scaled, x >> self.points.gain)
            case kinds.Quantize():
                self._now[step.dst] = self._now[step.src]
            case kinds.HeadNorm():
                assert gain is not None
                one = np.abs(gain).astype(object) << FRACTION
                one = one + (one >> 5) >> self.points.gain
                half = _half(self.points.of(step.buffer))
                self._put(step.buffer, np.tile(one, step.num_heads) + half)
            case kinds.Matvec():
                assert matrix is not None
                rows = self._matvec(step, matrix) + _half(self.points.of(step.dst))
                if bias is not None:  # rounded to the same point by itself
                    rows = rows + np.abs(bias).astype(object) + _half(self.points.of(step.dst))
                self._put(step.dst, rows)
                if step.dst == "x":  # at y's point, and no wider than y may be
                    self.largest["y"] = max(self.largest["y"], self.largest["x"])
            case kinds.Rope():
                bound = self._now[step.buffer]
                if step.table is not None:
                    bound = np.full(len(bound), int(bound.max()) * 3 // 2, object)
                self._put(step.buffer, bound + _half(self.points.rope))
            case kinds.Attend():
                kv = _stored(self._now["v"], shape.head_dim)
                kv = kv.reshape(shape.num_key_value_heads, shape.head_dim)
                repeat = shape.num_attention_heads // shape.num_key_value_heads
                a = np.repeat(kv + (kv >> 8), repeat, axis=0).reshape(-1)
                self._put(step.dst, a + 2 * _half(min(self.points.a, self.points.v)))
            case kinds.GateMul():
                silu = self._now[step.gate] + _half(self.points.silu)
                f = silu * self._now[step.up] >> FRACTION
                self._put(step.dst, f + _half(self.points.f))
            case kinds.Add():
                self._put(step.dst, self._now[step.dst] + self._now[step.src])

    def _put(self, buffer: str, bound: np.ndarray) -> None:
        self._now[buffer] = bound
        self.largest[buffer] = max(self.largest.get(buffer, 0), int(bound.max()))

    def _matvec(self, step: kinds.Matvec, matrix: Matrix) -> np.ndarray:
        sum_bits = matrix.sum_bits()
        if sum_bits > SUM_BITS:  # at once: a build of hours should not end with this
            raise HardcastError(
                f"{matrix.name}: rows add up to {sum_bits} bits, at most {SUM_BITS}; "
                "use a recipe that gives it fewer bits"
            )
        self.sums[matrix.name] = (sum_bits, self._measured(step))
        parts = (self._matvec_rows(step, part, sum_bits) for part in matrix.chunks())
        return np.concatenate(list(parts))

    def _measured(self, step: kinds.Matvec) -> str:
        """The buffer whose bits the product's input has: QUANTIZE's is that of x."""
        return "x" if step.src == "h" and not self._normed(step) else step.src

    def _normed(self, step: kinds.Matvec) -> bool:
        """Whether the input comes from NORM, which has a proof of its own, or is bounded itself."""
        return step.src == "h" and "h" not in self._now

    def _matvec_rows(self, step: kinds.Matvec, matrix: Matrix, sum_bits: int) -> np.ndarray:
        weights = _magnitudes(matrix)
        points = self.points
        if self._normed(step):
            assert self._gain is not None
            norm = _row_norm(weights, self._gain, points.gain)
            own = 1 << points.gain - points.norm_extra - 1  # half a unit of NORM's own rounding
            wrong = np.full_like(self._gain, (self._gain.max() >> 4) + 1 + own)
            rows = norm + _row_norm(weights, wrong, points.gain)
            # MATVEC's first rounding: half of 2^drop, against a block of at least 2^(drop +
            # PRODUCT_BITS - sum_bits) in length, which |x g| cannot be shorter than.
            lost = (int(self._gain.max()) << sum_bits >> points.gain + PRODUCT_BITS) + 1
            rows = rows + lost
            return _real(matrix, rows + (rows >> 9), FRACTION)
        src = _stored(self._now[step.src], BLOCK)
        point = points.residual if step.src == "h" else self.points.of(step.src)
        src = np.minimum(src, (1 << MAGNITUDE_BITS + FRACTION) >> point)  # the quantiser clamps
        magnitude = min(_bits(int(src.max()), point), MAGNITUDE_BITS)
        drop = max(magnitude + sum_bits - PRODUCT_BITS, 0)
        lost = (1 << drop + FRACTION >> point + 1) + 1 if drop else 0
        return _real(matrix, _weighted_sum(weights, src) + lost, 0)

    def widths(self) -> dict[str, int]:
        """Bits with sign of each buffer at its point, and of each matrix's accumulator.

        A buffer whose bits are at most 32 can never saturate. Raises HardcastError for weights
        with which a buffer could exceed int64.
        """
        bound = {**self.largest, "h": self._scaled}
        found = {buffer: _bits(bound[buffer], self.points.of(buffer)) for buffer in bound}
        for buffer in ("y", "q", "k", "v", "g", "u", "logits"):
            # What MATVEC shifts left before it saturates; then no such shift leaves int64.
            if found.get(buffer, 0) > WIDEST:
                raise HardcastError(
                    f"weights so large that {buffer} would need {found[buffer]} bits; "
                    "no trained model has such: fetch or export the checkpoint again"
                )
        for name, (sum_bits, src) in self.sums.items():
            found[f"{ACCUMULATOR}.{name}"] = sum_bits + min(found[src], MAGNITUDE_BITS + 1)
        return found


def _bits(bound: int, point: int) -> int:
    """Bits with sign of a bound (at FRACTION) held at `point`."""
    at_point = bound << point if point >= 0 else bound
    return ((at_point >> FRACTION) + 1).bit_length() + 1


def _half(point: int) -> int:
    """Half a unit of `point`, at FRACTION, rounded up."""
    return max(1 << FRACTION >> point + 1, 1)


def _stored(bound: np.ndarray, block: int) -> np.ndarray:
    """Bounds of the codes' values once blocks of `block` elements were quantised to 8 bits."""
    starts = range(0, len(bound), block)
    largest = [bound[start : start + block].max() for start in starts]
    return bound + (np.repeat(np.array(largest, object), block)[: len(bound)] >> 6) + 1


def _magnitudes(matrix: Matrix) -> np.ndarray:
    """|integers| of a matrix, int32[out_features, in_features]."""
    weights = matrix.integers()
    return np.abs(weights, out=weights)


def _row_norm(weights: np.ndarray, gain: np.ndarray, gain_point: int) -> np.ndarray:
    """Upper bound of sqrt(sum (w g)^2) of each row, whole integers (object)."""
    product_bits = int(weights.max(initial=0)).bit_length() + int(gain.max(initial=0)).bit_length()
    room = (62 - weights.shape[1].bit_length()) // 2
    drop = max(product_bits - room, 0)
    sums = np.empty(len(weights), np.int64)
    for rows in row_blocks(weights.shape):  # in place, so that the cache holds every pass
        product = weights[rows] * gain
        product += (1 << drop) - 1
        product >>= drop
        product *= product
        sums[rows] = product.sum(axis=1)
    return (isqrt_ceil(sums).astype(object) << drop >> gain_point) + 1


def _weighted_sum(weights: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Upper bound of sum |w| b of each row (object), b at FRACTION."""
    row_bits = int(weights.sum(axis=1, dtype=np.int64).max(initial=0)).bit_length()
    drop = max(row_bits + int(bound.max()).bit_length() - 62, 0)
    coarse = ((bound >> drop) + 1).astype(np.int64)
    sums = np.empty(len(weights), np.int64)
    for rows in row_blocks(weights.shape):
        sums[rows] = np.einsum("ij,j->i", weights[rows].astype(np.int64), coarse)
    return sums.astype(object) << drop


def _real(matrix: Matrix, rows: np.ndarray, fraction: int = FRACTION) -> np.ndarray:
    """rows * M * 2^(fraction - e), rounded up (object)."""
    multiplier = matrix.row_multiplier.astype(object)
    shift = matrix.row_shift.astype(object) - fraction
    product = rows * multiplier
    return np.array(
        [(p >> s) + 1 if s >= 0 else p << -s for p, s in zip(product, shift, strict=True)], object
    )
