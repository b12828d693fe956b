"""Activation blocks: small signed integers that share one power-of-two exponent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardcast.numerics.fixed import bit_length, rs

BLOCK = 64  # inputs of a matrix that share an exponent; q, k and v use one block a head
MAGNITUDE_BITS = 37  # larger values clamp: an 8-bit code's exponent is at most 30
HEAD_BITS = 8  # of q, k and v
HEAD_MAGNITUDE_BITS = 22  # of q, k and v: their exponent is at most 15, 4 bits of KV memory


@dataclass(frozen=True)
class Blocks:
    """A block-quantised vector for each of T tokens.

    codes: int64[T, n] in -2^(bits-1) .. 2^(bits-1) - 1; exponents: int64[T, blocks].
    The integer that a code stands for is code << exponent of its block (`values`).
    """

    codes: np.ndarray
    exponents: np.ndarray
    bits: int
    block: int

    @property
    def values(self) -> np.ndarray:
        """int64[T, n]: code << exponent."""
        spread = np.repeat(self.exponents, self.block, axis=-1)[..., : self.codes.shape[-1]]
        return self.codes << spread


def quantize_blocks(
    x: np.ndarray, bits: int, block: int = BLOCK, magnitude_bits: int = MAGNITUDE_BITS
) -> Blocks:
    """Quantises int64[T, n] to `bits` bits; the last block of a row may be short.

    The exponent comes from an OR tree over one's-complement magnitudes, no comparison needed:
    s = min(max(0, bit_length(OR) - (bits - 1)), magnitude_bits - (bits - 1));
    code = rs(x, s) clamped to -2^(bits-1) .. 2^(bits-1) - 1.
    Rounding: half up. Below magnitude_bits only a value that rounds up to 2^(bits-1) clamps.
    """
    tokens, n = x.shape
    count = -(-n // block)
    padded = np.zeros((tokens, count * block), np.int64)
    padded[:, :n] = x
    grouped = padded.reshape(tokens, count, block)
    magnitude = np.bitwise_or.reduce(grouped ^ (grouped >> 63), axis=2)
    most = magnitude_bits - (bits - 1)
    exponents = np.clip(bit_length(magnitude) - (bits - 1), 0, most)
    top = 1 << (bits - 1)
    codes = np.clip(rs(grouped, exponents[:, :, None]), -top, top - 1)
    return Blocks(codes.reshape(tokens, -1)[:, :n], exponents, bits, block)
