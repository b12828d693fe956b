"""RoPE frequencies and the two-level sin/cos ROM, in exact decimal and integer arithmetic.

Source: RoFormer (Su et al. 2021) for the angles; the `llama3` scaling is the published rule of
Llama 3.1's config (low/high frequency factors with a smooth blend between them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

import numpy as np

DIGITS = 60
FRACTION_BITS = 160  # of the integer angles below; far below any table's rounding
TABLE_BITS = 14
FINE = 128  # positions a coarse step


@dataclass(frozen=True)
class RopeScaling:
    """How a model stretches RoPE beyond its first context.

    kind: "linear" divides every frequency by `factor`; "llama3" blends by wavelength;
    "factors" divides frequency i by factors[i] (what a GGUF file stores); "longrope" does so by
    `factors` where the chip's context is within the original one, else by `long_factors`; "yarn"
    blends between `factor` and 1 by how often a pair turns within the original context.
    attention_factor: what multiplies cosine and sine beside that (1: nothing).
    """

    kind: str
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0

    def for_context(self, context: int) -> RopeScaling:
        """The one of a chip of so many positions: "longrope" becomes the "factors" it takes."""
        if self.kind != "longrope":
            return self
        within = context <= self.original_max_position_embeddings
        factors = self.factors if within else self.long_factors
        return replace(self, kind="factors", factors=factors, long_factors=())


def inverse_frequencies(head_dim: int, base: float, scaling: RopeScaling | None) -> list[Decimal]:
    """Radians per position of each of the head_dim / 2 pairs, to 60 digits.

    Raises ValueError for an unknown scaling kind or a wrong number of factors.
    """
    with localcontext() as context:
        context.prec = DIGITS
        log_base = Decimal(base).ln()
        plain = [(-log_base * 2 * i / head_dim).exp() for i in range(head_dim // 2)]
        if scaling is None:
            return plain
        if scaling.kind == "linear":
            return [f / Decimal(scaling.factor) for f in plain]
        if scaling.kind == "factors":
            if len(scaling.factors) != len(plain):
                raise ValueError(f"{len(scaling.factors)} RoPE factors for {len(plain)} pairs")
            return [f / Decimal(s) for f, s in zip(plain, scaling.factors, strict=True)]
        if scaling.kind == "llama3":
            return [_llama3(f, scaling) for f in plain]
        if scaling.kind == "yarn":
            return _yarn(plain, log_base, scaling)
    raise ValueError(f"unknown RoPE scaling {scaling.kind!r}")


def _llama3(frequency: Decimal, scaling: RopeScaling) -> Decimal:
    """Slow waves are divided by `factor`, fast ones kept, the band between is blended."""
    low, high = Decimal(scaling.low_freq_factor), Decimal(scaling.high_freq_factor)
    turns = scaling.original_max_position_embeddings * frequency / (2 * pi())
    if turns < low:
        return frequency / Decimal(scaling.factor)
    if turns > high:
        return frequency
    smooth = (turns - low) / (high - low)
    return (1 - smooth) * frequency / Decimal(scaling.factor) + smooth * frequency


def _yarn(plain: list[Decimal], log_base: Decimal, scaling: RopeScaling) -> list[Decimal]:
    """YaRN (Peng et al. 2023): fast pairs kept, slow ones divided, a ramp between."""
    context = Decimal(scaling.original_max_position_embeddings)

    def pair_of(turns: float) -> Decimal:
        """The pair, as a real number, that turns so often within the original context."""
        return len(plain) * (context / (Decimal(turns) * 2 * pi())).ln() / log_base

    low, high = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = low.to_integral_value(ROUND_FLOOR), high.to_integral_value(ROUND_CEILING)
    low, high = max(low, Decimal(0)), min(high, Decimal(2 * len(plain) - 1))
    if low == high:
        high += Decimal("0.001")
    found = []
    for index, frequency in enumerate(plain):
        ramp = min(max((index - low) / (high - low), Decimal(0)), Decimal(1))
        found.append(frequency / Decimal(scaling.factor) * ramp + frequency * (1 - ramp))
    return found


def yarn_attention(factor: float, scale: float = 1.0) -> float:
    """YaRN's factor on cosine and sine where a model does not state one."""
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def pi() -> Decimal:
    """Pi to about 60 digits by Machin's formula, 16 atan(1/5) - 4 atan(1/239)."""
    with localcontext() as context:
        context.prec = DIGITS + 5

        def atan_inverse(n: int) -> Decimal:
            total, power, k = Decimal(0), Decimal(1) / n, 1
            while power > Decimal(10) ** -(DIGITS + 5):
                total += power / k if k % 4 == 1 else -power / k
                power /= n * n
                k += 2
            return total

        return 16 * atan_inverse(5) - 4 * atan_inverse(239)


def rope_tables(frequencies: list[Decimal], context: int) -> tuple[np.ndarray, np.ndarray]:
    """The two-level ROM: angle(position) = coarse(position div 128) + fine(position mod 128).

    Returns coarse int16[ceil(context / 128), pairs, 2] and fine int16[128, pairs, 2];
    the last axis is (cos, sin) at 14 fraction bits, rounded half up.
    """
    coarse_rows = -(-context // FINE)
    coarse = np.zeros((coarse_rows, len(frequencies), 2), np.int16)
    fine = np.zeros((FINE, len(frequencies), 2), np.int16)
    one = 1 << FRACTION_BITS
    with localcontext() as decimal_context:
        decimal_context.prec = DIGITS
        turn = int((2 * pi() * one).to_integral_value())
        steps = [int((f * one).to_integral_value()) for f in frequencies]
    for pair, step in enumerate(steps):
        for row in range(coarse_rows):
            coarse[row, pair] = _cos_sin(row * FINE * step, turn)
        for row in range(FINE):
            fine[row, pair] = _cos_sin(row * step, turn)
    return coarse, fine


def _cos_sin(angle: int, turn: int) -> tuple[int, int]:
    """cos and sin of an angle in units of 2^-160 radian, at 14 fraction bits, half up."""
    quarter = turn // 4
    quadrant, rest = divmod(angle % turn, quarter)
    if rest > quarter // 2:  # keep the series' argument within pi/4
        sine, cosine = _series(quarter - rest)
    else:
        cosine, sine = _series(rest)
    turned = [(cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine)][quadrant % 4]
    drop = FRACTION_BITS - TABLE_BITS
    half = 1 << (drop - 1)
    return (turned[0] + half) >> drop, (turned[1] + half) >> drop


def _series(angle: int) -> tuple[int, int]:
    """Taylor series of (cos, sin) at 160 fraction bits; each term is exact to a few units."""
    term = 1 << FRACTION_BITS
    sums = [0, 0]
    k = 0
    while term:
        sums[k % 2] += term if k % 4 < 2 else -term
        k += 1
        term = (term * angle >> FRACTION_BITS) // k
    return sums[0], sums[1]
