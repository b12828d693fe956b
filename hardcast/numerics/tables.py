"""The chip's lookup tables, made with exact integer and decimal arithmetic (never libm).

Each entry is the correctly rounded value (half up) of a real function, so a table has the same
bytes on every machine. `decimal` rounds exp, ln and sqrt correctly; an entry within 1e-30 of a
tie would be ambiguous at 50 digits and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_FLOOR, Decimal, localcontext
from functools import cache, wraps

import numpy as np

from hardcast.numerics.rope import pi

DIGITS = 50
TIE = Decimal("1e-30")

EXP2_BITS = 8  # index bits of the 2^-x table
EXP2_ONE = 4095  # its largest entry, 12 bits
RSQRT_ONE = 1 << 16  # rsqrt(1) in the table's units
RECIPROCAL_BITS = 8
GATE_INDEX_BITS = 6  # of a gate's table: 64 intervals
GATE_RANGE = {"sigmoid": 3, "gelu_tanh": 2}  # |g| beyond 2^this is clamped
GATE_ONE = 1 << 12


def _round(value: Decimal) -> int:
    """To nearest; refuses a value too near a tie (or on it) to be sure of."""
    whole = (value + Decimal("0.5")).to_integral_value(ROUND_FLOOR)
    above = value + Decimal("0.5") - whole  # of the tie below: 0 <= above < 1
    if min(above, 1 - above) < TIE:
        raise ArithmeticError(f"table entry {value} is too near a tie")
    return int(whole)


def _table(function: Callable[[Decimal], Decimal], points: Iterable[Decimal]) -> list[int]:
    with localcontext() as context:
        context.prec = DIGITS
        return [_round(function(point)) for point in points]


def _once(build: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    """The builder, run at its first call only: golden looks tables up at every step."""

    @cache
    @wraps(build)
    def made() -> np.ndarray:
        table = build()
        table.setflags(write=False)
        return table

    return made


@_once
def exp2_table() -> np.ndarray:
    """X[i] = round(4095 * 2^(-i/256)), uint16[256]: the fraction of a softmax exponent."""
    ln2 = Decimal(2).ln()
    points = (Decimal(i) / (1 << EXP2_BITS) for i in range(1 << EXP2_BITS))
    return np.array(_table(lambda x: EXP2_ONE * (-x * ln2).exp(), points), np.uint16)


@_once
def rsqrt_table() -> np.ndarray:
    """T[j] = round(2^16 / sqrt(j/8)) for j = 8..32, int32[25]: 24 intervals over [1, 4)."""
    points = (Decimal(j) / 8 for j in range(8, 33))
    return np.array(_table(lambda x: RSQRT_ONE / x.sqrt(), points), np.int32)


@_once
def reciprocal_table() -> np.ndarray:
    """C[i] = round(2^24 / (256 + i + 1/2)), int32[256]: 1/Z by the 8 bits after its top one."""
    return np.array(
        [(2**26 + 2 * (256 + i) + 1) // (4 * (256 + i) + 2) for i in range(256)], np.int32
    )


@_once
def sigmoid_table() -> np.ndarray:
    """round(4096 / (1 + e^-x)) for x = 0, 1/8 .. 8, int32[65]; interpolated linearly."""
    points = _gate_points("sigmoid")
    return np.array(_table(lambda x: GATE_ONE / (1 + (-x).exp()), points), np.int32)


@_once
def gelu_tanh_table() -> np.ndarray:
    """round(4096 (1 + tanh(s (x + 0.044715 x^3))) / 2) for x = 0, 1/16 .. 4, s = sqrt(2 / pi).

    int32[65]; GELU is x times it, in the formula that models were trained with.
    """

    def half_of_tanh(x: Decimal) -> Decimal:
        z = (2 / pi()).sqrt() * (x + Decimal("0.044715") * x**3)
        return GATE_ONE / (1 + (-2 * z).exp())

    return np.array(_table(half_of_tanh, _gate_points("gelu_tanh")), np.int32)


def _gate_points(name: str) -> list[Decimal]:
    """Where a gate's table has its entries: 0 to its range, both of them too."""
    steps = 1 << GATE_INDEX_BITS
    return [Decimal(i << GATE_RANGE[name]) / steps for i in range(steps + 1)]


@_once
def log2_table() -> np.ndarray:
    """round(2^24 * log2(1 + i/256)) for i = 0..256, int32[257]: the sampler's logarithm."""
    with localcontext() as context:
        context.prec = DIGITS
        ln2 = Decimal(2).ln()
    points = (1 + Decimal(i) / 256 for i in range(257))
    return np.array(_table(lambda x: (x.ln() / ln2) * (1 << 24), points), np.int32)


@_once
def tail_table() -> np.ndarray:
    """round(2^24 * log2(-log2(1-v) / v)) for v = i/512, i = 0..256, int32[257].

    For v < 1/2 the sampler's noise is -log2(-log2(1-v)) = -log2(v) - tail(v), which stays
    accurate where 1-v is near 1. At v = 0 the limit is log2(1 / ln 2).
    """

    def tail(v: Decimal) -> Decimal:
        ln2 = Decimal(2).ln()
        ratio = 1 / ln2 if v == 0 else -(1 - v).ln() / ln2 / v
        return ratio.ln() / ln2 * (1 << 24)

    return np.array(_table(tail, (Decimal(i) / 512 for i in range(257))), np.int32)


TABLES: dict[str, Callable[[], np.ndarray]] = {
    "exp2": exp2_table,
    "rsqrt": rsqrt_table,
    "reciprocal": reciprocal_table,
    "sigmoid": sigmoid_table,
    "log2": log2_table,
    "tail": tail_table,
}
"""What every image holds."""

GATES: dict[str, Callable[[], np.ndarray]] = {"gelu_tanh": gelu_tanh_table}
"""And what those hold whose gates read it."""


def needed(gates: Iterable[str]) -> dict[str, Callable[[], np.ndarray]]:
    """The tables of an image by name. gates: those that its program's GATE_MULs read."""
    return TABLES | {name: GATES[name] for name in gates if name not in TABLES}
