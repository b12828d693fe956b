"""Every table entry is the correctly rounded value, shown without exp, ln or sqrt.

Roots and powers of two are decided by comparing integers, logarithms and the exponential by
rational bounds of their series: another road than the `decimal` functions that made the tables.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from math import factorial

import numpy as np
import pytest

from hardcast.numerics import tables

HALF = Fraction(1, 2)


def exp_bounds(x: Fraction) -> tuple[Fraction, Fraction]:
    """Rational bounds of e^x for x >= 0: e^(x/16) by Taylor with its remainder, to the 16th."""
    small = x / 16
    total = sum((small**k / factorial(k) for k in range(24)), Fraction(0))
    rest = small**24 / factorial(24) * 2
    return total**16, (total + rest) ** 16


def ln_bounds(x: Fraction) -> tuple[Fraction, Fraction]:
    """Rational bounds of ln x for 1 <= x <= 2: 2 atanh((x-1)/(x+1)) and its remainder."""
    z = (x - 1) / (x + 1)
    terms = 40
    total = 2 * sum((z ** (2 * k + 1) / (2 * k + 1) for k in range(terms)), Fraction(0))
    # The tail is below its first term times 1 / (1 - z^2) <= 9/8.
    return total, total + 2 * z ** (2 * terms + 1) * Fraction(9, 8)


LN2 = ln_bounds(Fraction(2))


def rounds_to(low: Fraction, high: Fraction, entry: int) -> bool:
    """Whether every value in [low, high] rounds half up to `entry`."""
    return entry - HALF <= low and high < entry + HALF


def test_exp2() -> None:
    """entry = round(4095 / 2^(i/256)): raised to the 256th power, all integers."""
    table = tables.exp2_table()
    assert (table.dtype, table.shape) == (np.uint16, (256,))
    top = (2 * tables.EXP2_ONE) ** 256
    for i, entry in enumerate(table.tolist()):
        assert (2 * entry - 1) ** 256 << i <= top < (2 * entry + 1) ** 256 << i


def test_rsqrt() -> None:
    """entry = round(2^16 sqrt(8/j)): (2 entry - 1)^2 j <= 2^34 * 8 < (2 entry + 1)^2 j."""
    table = tables.rsqrt_table()
    assert table.shape == (25,)
    for j, entry in zip(range(8, 33), table.tolist(), strict=True):
        assert (2 * entry - 1) ** 2 * j <= 1 << 37 < (2 * entry + 1) ** 2 * j
    assert (table[0], table[24]) == (1 << 16, 1 << 15)


def test_reciprocal() -> None:
    table = tables.reciprocal_table()
    exact = [Fraction(1 << 24) / (256 + i + HALF) for i in range(256)]
    assert all(rounds_to(x, x, entry) for x, entry in zip(exact, table.tolist(), strict=True))


def test_sigmoid() -> None:
    table = tables.sigmoid_table()
    assert table.shape == (65,)
    for i, entry in enumerate(table.tolist()):
        low, high = exp_bounds(Fraction(i, 8))
        assert rounds_to(4096 / (1 + 1 / low), 4096 / (1 + 1 / high), entry)


def test_gelu_tanh() -> None:
    """2 z = 2 sqrt(2/pi) (x + 0.044715 x^3), sqrt(2/pi) between two decimals of 25 places."""
    table = tables.gelu_tanh_table()
    assert table.shape == (65,) and (np.diff(table) >= 0).all()
    root = Fraction(7978845608028653558798921, 10**25)
    assert abs(float(root) - (2 / np.pi) ** 0.5) < 1e-15
    for i, entry in enumerate(table.tolist()):
        x = Fraction(i, 16)
        z = 2 * (x + Fraction("0.044715") * x**3)
        low, high = exp_bounds(z * root)[0], exp_bounds(z * (root + Fraction(1, 10**25)))[1]
        assert rounds_to(4096 / (1 + 1 / low), 4096 / (1 + 1 / high), entry)


def test_log2() -> None:
    table = tables.log2_table()
    assert table.shape == (257,)
    for i, entry in enumerate(table.tolist()):
        low, high = ln_bounds(1 + Fraction(i, 256))
        assert rounds_to((1 << 24) * low / LN2[1], (1 << 24) * high / LN2[0], entry)


def test_tail() -> None:
    """The inner logarithm by its bounds, then that of their ratio by bounds again."""
    table = tables.tail_table()
    assert table.shape == (257,)
    for i, entry in enumerate(table.tolist()):
        if i:
            v = Fraction(i, 512)
            low, high = (bound / v for bound in ln_bounds(1 / (1 - v)))
        else:
            low = high = Fraction(1)
        # ratio = -ln(1-v) / v / ln 2, between 1.44 and 2; its logarithm once more.
        ratio_low, ratio_high = low / LN2[1], min(high / LN2[0], Fraction(2))
        inner_low, inner_high = ln_bounds(short(ratio_low))[0], ln_bounds(short(ratio_high, 1))[1]
        assert rounds_to((1 << 24) * inner_low / LN2[1], (1 << 24) * inner_high / LN2[0], entry)


def short(x: Fraction, up: int = 0) -> Fraction:
    """x rounded down (or up) to 100 binary digits, so that powers of it stay small."""
    return min(Fraction((x.numerator << 100) // x.denominator + up, 1 << 100), Fraction(2))


def test_tables_are_monotonic_and_listed() -> None:
    made = {name: build() for name, build in tables.TABLES.items()}
    assert set(made) == {"exp2", "rsqrt", "reciprocal", "sigmoid", "log2", "tail"}
    rising = {name: bool((np.diff(table.astype(int)) > 0).all()) for name, table in made.items()}
    falling = {name: bool((np.diff(table.astype(int)) <= 0).all()) for name, table in made.items()}
    assert {name for name in made if rising[name]} == {"log2", "tail"}
    assert {name for name in made if falling[name]} == {"exp2", "rsqrt", "reciprocal"}
    assert (np.diff(made["sigmoid"]) >= 0).all()  # flat near 8, where 12 bits end


@pytest.mark.parametrize("nudge", ["0", "1e-40", "-1e-40"])
def test_an_entry_too_near_a_tie_is_refused(nudge: str) -> None:
    with localcontext() as context:
        context.prec = tables.DIGITS
        with pytest.raises(ArithmeticError, match="too near a tie"):
            tables._round(Decimal("2.5") + Decimal(nudge))


@pytest.mark.parametrize(
    ("value", "entry"), [("2.5001", 3), ("2.4999", 2), ("-2.4999", -2), ("-2.5001", -3), ("7", 7)]
)
def test_entries_are_rounded_to_nearest(value: str, entry: int) -> None:
    assert tables._round(Decimal(value)) == entry
