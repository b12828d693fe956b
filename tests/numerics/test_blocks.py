"""The block quantiser: its definition once more in scalars, and what must hold for any input."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hardcast.numerics.blocks import (
    BLOCK,
    HEAD_BITS,
    HEAD_MAGNITUDE_BITS,
    MAGNITUDE_BITS,
    quantize_blocks,
)

BITS = st.integers(8, 15)


@st.composite
def vectors(draw: st.DrawFn, limit_bits: int = 61) -> np.ndarray:
    """int64[T, n] of mixed magnitudes."""
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 2 * BLOCK + 7)))
    most = 1 << draw(st.integers(0, limit_bits))
    return draw(arrays(np.int64, shape, elements=st.integers(-most, most - 1)))


def scalar_quantize(
    row: list[int], bits: int, block: int, magnitude_bits: int
) -> tuple[list[int], list[int]]:
    """Codes and exponents of one row, one number at a time."""
    codes, exponents = [], []
    for start in range(0, len(row), block):
        part = row[start : start + block]
        largest = max((x if x >= 0 else -x - 1).bit_length() for x in part)
        exponent = min(max(largest - (bits - 1), 0), magnitude_bits - (bits - 1))
        exponents.append(exponent)
        for x in part:
            code = (2 * x + (1 << exponent)) >> (exponent + 1)  # floor(x / 2^exponent + 1/2)
            codes.append(max(min(code, (1 << (bits - 1)) - 1), -(1 << (bits - 1))))
    return codes, exponents


@given(vectors(), BITS, st.sampled_from([(BLOCK, MAGNITUDE_BITS), (24, HEAD_MAGNITUDE_BITS)]))
def test_definition(x: np.ndarray, bits: int, form: tuple[int, int]) -> None:
    blocks = quantize_blocks(x, bits, *form)
    for row, codes, exponents in zip(x, blocks.codes, blocks.exponents, strict=True):
        expected = scalar_quantize(row.tolist(), bits, *form)
        assert (codes.tolist(), exponents.tolist()) == expected


@given(vectors(limit_bits=MAGNITUDE_BITS - 1), BITS)
def test_error_is_half_a_unit_except_at_the_top(x: np.ndarray, bits: int) -> None:
    blocks = quantize_blocks(x, bits)
    unit = np.int64(1) << np.repeat(blocks.exponents, BLOCK, axis=1)[:, : x.shape[1]]
    top = (1 << (bits - 1)) - 1
    clamped = (blocks.codes == top) & (x > top * unit)
    error = np.abs(blocks.values - x)
    assert (2 * error[~clamped] <= unit[~clamped]).all()
    assert (error[clamped] < unit[clamped]).all()


@given(vectors(limit_bits=MAGNITUDE_BITS - 1), BITS)
def test_exponents_are_as_small_as_possible(x: np.ndarray, bits: int) -> None:
    """A block above exponent 0 uses its codes' upper half."""
    blocks = quantize_blocks(x, bits)
    for token in range(len(x)):
        for block, exponent in enumerate(blocks.exponents[token]):
            codes = blocks.codes[token, block * BLOCK : (block + 1) * BLOCK]
            if exponent:
                reach = max(int(codes.max()), -int(codes.min()))
                assert reach >= 1 << (bits - 2)
            else:
                part = x[token, block * BLOCK : (block + 1) * BLOCK]
                assert (codes == part).all()


@given(vectors(limit_bits=40), BITS)
def test_blocks_know_nothing_of_each_other(x: np.ndarray, bits: int) -> None:
    whole = quantize_blocks(x, bits)
    for start in range(0, x.shape[1], BLOCK):
        alone = quantize_blocks(x[:, start : start + BLOCK], bits)
        assert (alone.codes == whole.codes[:, start : start + BLOCK]).all()
        assert (alone.exponents[:, 0] == whole.exponents[:, start // BLOCK]).all()


def test_values_beyond_the_magnitude_clamp() -> None:
    huge = np.array([[1 << 60, -(1 << 60), 5, 1 << MAGNITUDE_BITS]], np.int64)
    blocks = quantize_blocks(huge, 8)
    assert blocks.exponents.tolist() == [[MAGNITUDE_BITS - 7]]
    assert blocks.codes.tolist() == [[127, -128, 0, 127]]
    heads = quantize_blocks(huge, HEAD_BITS, 4, HEAD_MAGNITUDE_BITS)
    assert heads.exponents.tolist() == [[15]]  # 4 bits of KV memory


def test_ties_round_up_and_the_top_clamps() -> None:
    x = np.array([[255, 253, 251, -255, -253, -256, 1, -1]], np.int64)
    blocks = quantize_blocks(x, 8)
    assert blocks.exponents.tolist() == [[1]]
    assert blocks.codes.tolist() == [[127, 127, 126, -127, -126, -128, 1, 0]]
