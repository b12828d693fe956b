"""RoPE: frequencies against the float formulas, the two-level ROM against high precision."""

from __future__ import annotations

import math
from decimal import ROUND_FLOOR, Decimal, localcontext

import numpy as np
import pytest

from hardcast.numerics.rope import (
    FINE,
    TABLE_BITS,
    RopeScaling,
    inverse_frequencies,
    pi,
    rope_tables,
)

PI_50 = "3.14159265358979323846264338327950288419716939937510"
LLAMA3 = RopeScaling(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8192,
)


def test_pi() -> None:
    assert str(pi())[: len(PI_50)] == PI_50


@pytest.mark.parametrize(("head_dim", "base"), [(24, 10000.0), (64, 100000.0), (128, 500000.0)])
def test_plain_frequencies(head_dim: int, base: float) -> None:
    found = inverse_frequencies(head_dim, base, None)
    assert found[0] == 1
    assert [float(f) for f in found] == pytest.approx(
        [base ** (-2 * i / head_dim) for i in range(head_dim // 2)], rel=1e-14
    )
    with localcontext() as context:  # the exact relation: f^head_dim = base^(-2 i)
        context.prec = 50
        for i, f in enumerate(found):
            assert abs(f**head_dim * Decimal(base) ** (2 * i) - 1) < Decimal("1e-45")


def test_linear_scaling_and_factors() -> None:
    plain = inverse_frequencies(16, 10000.0, None)
    linear = inverse_frequencies(16, 10000.0, RopeScaling("linear", factor=4.0))
    assert linear == pytest.approx([f / 4 for f in plain])
    factors = tuple(1.0 + i / 2 for i in range(8))
    scaled = inverse_frequencies(16, 10000.0, RopeScaling("factors", factors=factors))
    assert [float(f) for f in scaled] == pytest.approx(
        [float(f) / by for f, by in zip(plain, factors, strict=True)]
    )


def llama3_float(frequency: float) -> float:
    """The rule as published with Llama 3.1, in floats."""
    wavelength = 2 * math.pi / frequency
    old = LLAMA3.original_max_position_embeddings
    if wavelength < old / LLAMA3.high_freq_factor:
        return frequency
    if wavelength > old / LLAMA3.low_freq_factor:
        return frequency / LLAMA3.factor
    smooth = (old / wavelength - LLAMA3.low_freq_factor) / (
        LLAMA3.high_freq_factor - LLAMA3.low_freq_factor
    )
    return (1 - smooth) * frequency / LLAMA3.factor + smooth * frequency


def test_llama3_scaling() -> None:
    plain = inverse_frequencies(128, 500000.0, None)
    scaled = inverse_frequencies(128, 500000.0, LLAMA3)
    assert [float(f) for f in scaled] == pytest.approx(
        [llama3_float(float(f)) for f in plain], rel=1e-13
    )
    ratios = {round(float(a / b), 6) for a, b in zip(plain, scaled, strict=True)}
    assert {1.0, 8.0} < ratios  # all three bands occur, the blended one too


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        (RopeScaling("ntk"), "unknown RoPE scaling 'ntk'"),
        (RopeScaling("factors", factors=(1.0, 2.0)), "2 RoPE factors for 8 pairs"),
    ],
)
def test_bad_scaling(scaling: RopeScaling, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inverse_frequencies(16, 10000.0, scaling)


def sin_decimal(x: Decimal) -> Decimal:
    """Taylor series at the context's precision, after taking whole turns away."""
    x = x % (2 * pi())
    term = total = x
    k = 1
    while abs(term) > Decimal("1e-55"):
        term *= -x * x / ((k + 1) * (k + 2))
        total += term
        k += 2
    return total


@pytest.mark.parametrize(("head_dim", "base"), [(16, 10000.0), (64, 100000.0)])
def test_tables_are_correctly_rounded(head_dim: int, base: float) -> None:
    frequencies = inverse_frequencies(head_dim, base, None)
    coarse, fine = rope_tables(frequencies, 8192)
    assert coarse.shape == (64, head_dim // 2, 2) and fine.shape == (FINE, head_dim // 2, 2)
    assert coarse.dtype == fine.dtype == np.int16
    rng = np.random.default_rng(0)
    with localcontext() as context:
        context.prec = 70
        for table, step in ((coarse, FINE), (fine, 1)):
            rows = rng.integers(0, len(table), 40)
            pairs = rng.integers(0, head_dim // 2, 40)
            for row, pair in zip(rows.tolist(), pairs.tolist(), strict=True):
                angle = frequencies[pair] * row * step
                for part, value in enumerate((sin_decimal(angle + pi() / 2), sin_decimal(angle))):
                    exact = value * (1 << TABLE_BITS) + Decimal("0.5")
                    assert table[row, pair, part] == exact.to_integral_value(ROUND_FLOOR)


def test_tables_against_floats_at_every_position() -> None:
    """Two roundings to 14 bits, and the product's: every angle within two units of the truth."""
    frequencies = inverse_frequencies(32, 10000.0, None)
    context = 1000
    coarse, fine = rope_tables(frequencies, context)
    assert len(coarse) == 8
    positions = np.arange(context)
    table = [t[..., 0] + 1j * t[..., 1] for t in (coarse.astype(float), fine.astype(float))]
    found = table[0][positions // FINE] * table[1][positions % FINE] / (1 << TABLE_BITS)
    angles = positions[:, None] * np.array([float(f) for f in frequencies])
    error = np.abs(found - np.exp(1j * angles) * (1 << TABLE_BITS))
    assert error.max() < 1.5
