"""What each kind of step means, in integers. T is the number of tokens handled at once.

rs(x, k) is the rounding shift of numerics/fixed.py. A real value is integer * 2^-point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardcast.numerics import tables
from hardcast.numerics.blocks import BLOCK, Blocks, quantize_blocks
from hardcast.numerics.fixed import bit_length, matmul_exact, rescale, rs, saturate32
from hardcast.numerics.points import Points
from hardcast.numerics.rope import FINE, TABLE_BITS

RSQRT_FRACTION = 31  # 1/sqrt(V) = r * 2^-(31 + halfshift), see rsqrt
PRODUCT_BITS = 37  # of t in MATVEC: t * M (8 bits) * r (17 bits) fits int64
MIX_BITS = 13  # bits that attention's sum keeps above v's last one before 1/Z multiplies it
PROBABILITY_RANGE = 40  # a softmax term is 0 beyond 2^-40


@dataclass(frozen=True)
class Weights:
    """A matrix as the chip multiplies it: w = row_multiplier * 2^-row_shift * integers.

    integers: int32[out, in]; row_multiplier, row_shift: int64[out]; sum_bits: bit length of the
    largest sum of |integers| over a row.
    """

    integers: np.ndarray
    row_multiplier: np.ndarray
    row_shift: np.ndarray
    sum_bits: int


@dataclass(frozen=True)
class Normed:
    """NORM's result: unscaled blocks, and the token's 1/rms that MATVEC applies afterwards.

    r: int64[T] in 2^15..2^16; halfshift: int64[T].
    """

    blocks: Blocks
    r: np.ndarray
    halfshift: np.ndarray


def add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x + y, saturated to int32. The only place where a residual could grow without end."""
    return saturate32(x + y)


def embed(weights: Weights, tokens: np.ndarray, point: int) -> np.ndarray:
    """x = rescale(w_row * M, e - point), saturated: int64[T, hidden_size] at `point`.

    tokens: int64[T].
    """
    rows = weights.integers[tokens].astype(np.int64) * weights.row_multiplier[tokens][:, None]
    return saturate32(rescale(rows, weights.row_shift[tokens][:, None] - point))


def rsqrt(energy: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """1/sqrt of each positive integer (of any size): returns (r, halfshift), int64 each.

    h = bit_length(V) rounded up to even - 32; w = V >> h (<< -h) lies in [2^30, 2^32);
    table index = its top 5 bits, linear interpolation over the next 12;
    1/sqrt(V) ~ r * 2^-(31 + h/2). Largest relative error 1.33e-3 (too large).
    """
    h = [2 * ((v.bit_length() + 1) // 2) - 32 for v in energy]
    w = np.array([v >> s if s >= 0 else v << -s for v, s in zip(energy, h, strict=True)], np.int64)
    table = tables.rsqrt_table().astype(np.int64)
    index = (w >> 27) - 8
    fraction = (w >> 15) & 4095
    r = table[index] - rs((table[index] - table[index + 1]) * fraction, 12)
    return r, np.array(h, np.int64) // 2


def sum_of_squares(x: np.ndarray) -> list[int]:
    """Per token, block by block: squares of the top 16 bits, exact sums of shifted blocks.

    x: int64[T, n]. Per block of 64: k = max(0, bit_length(OR) - 15), S = sum rs(x, k)^2; the
    result is sum S << 2k, up to 62 bits and log2(n), hence Python integers.
    """
    blocks = quantize_blocks(x, 16)
    tokens, n = x.shape
    padded = np.zeros((tokens, blocks.exponents.shape[1] * BLOCK), np.int64)
    padded[:, :n] = blocks.codes
    sums = (padded.reshape(tokens, -1, BLOCK) ** 2).sum(axis=2)
    pairs = zip(sums.tolist(), blocks.exponents.tolist(), strict=True)
    return [sum(s << 2 * k for s, k in zip(ss, kk, strict=True)) for ss, kk in pairs]


def norm(x: np.ndarray, gain: np.ndarray, epsilon: int, points: Points, bits: int) -> Normed:
    """Scales the residual by the gains and quantises it; its 1/rms is left to MATVEC.

    x: int64[T, hidden_size] at points.residual; gain: int64[hidden_size] at points.gain, with
    sqrt(n) folded in; epsilon: rms_norm_eps * n * 4^residual as an integer.
    Blocks hold x * gain at residual + norm_extra.
    Rounding: rs(x * gain, gain - norm_extra), then the block quantiser.
    """
    scaled = rs(x * gain, points.gain - points.norm_extra)
    r, halfshift = rsqrt([v + epsilon or 1 for v in sum_of_squares(x)])
    return Normed(quantize_blocks(scaled, bits), r, halfshift)


def head_norm(
    x: np.ndarray, gain: np.ndarray, epsilon: int, points: Points, point: int
) -> np.ndarray:
    """RMS norm of each part (a head) of x: int64[T, parts * n] at `point`, in and out.

    gain: int64[n] at points.gain, sqrt(n) folded in; epsilon: rms_norm_eps * n * 4^point.
    Rounding: rs(x * r, 31 + halfshift - normed), then
    rs(. * gain, normed + gain - point), saturated to int32.
    """
    heads = x.reshape(-1, gain.size)
    r, halfshift = rsqrt([v + epsilon or 1 for v in sum_of_squares(heads)])
    normed = rescale(heads * r[:, None], (RSQRT_FRACTION + halfshift - points.normed)[:, None])
    return saturate32(rs(normed * gain, points.normed + points.gain - point)).reshape(x.shape)


def matvec(
    weights: Weights, src: Blocks | Normed, point_in: int, point_out: int, bias: np.ndarray | None
) -> np.ndarray:
    """dst = w @ src (+ bias): int64[T, out] at `point_out`, saturated to int32.

    acc = integers @ (code << exponent), exact, |acc| < 2^(37 + sum_bits) <= 2^62;
    t = rs(acc, drop), drop = max(0, largest exponent of the token + sum_bits + bits - 1 - 37);
    y = rescale(t * M * r, e + point_in + fraction + halfshift - drop - point_out).
    After a NORM r and halfshift are the token's, fraction is 31 and point_in is norm_extra (the
    residual's point cancels); for plain blocks r = 1, fraction = halfshift = 0.
    bias: int64[out] at point_out, or None.
    """
    blocks = src.blocks if isinstance(src, Normed) else src
    acc = matmul_exact(blocks.values, weights.integers)
    largest = blocks.exponents.max(axis=1)
    drop = np.maximum(largest + weights.sum_bits + blocks.bits - 1 - PRODUCT_BITS, 0)
    scale = point_in - drop - point_out
    multiplier = weights.row_multiplier[None, :]
    if isinstance(src, Normed):
        scale = scale + RSQRT_FRACTION + src.halfshift
        multiplier = multiplier * src.r[:, None]
    product = rs(acc, drop[:, None]) * multiplier
    y = rescale(product, weights.row_shift + scale[:, None])
    return saturate32(y if bias is None else y + bias)


def rope(
    x: np.ndarray, positions: np.ndarray, coarse: np.ndarray, fine: np.ndarray, points: Points
) -> np.ndarray:
    """Rotates pairs (i, i + head_dim/2) of every head by the position's angle.

    x: int64[T, heads * head_dim] at points.qk; positions: int64[T]; returns points.rope.
    (c, s) = coarse * fine as complex numbers, rs(., 14); then rs(a c - b s, 14 + qk - rope).
    """
    cc, sc = np.moveaxis(coarse[positions // FINE].astype(np.int64), 2, 0)
    cf, sf = np.moveaxis(fine[positions % FINE].astype(np.int64), 2, 0)
    c = rs(cc * cf - sc * sf, TABLE_BITS)[:, None, :]
    s = rs(sc * cf + cc * sf, TABLE_BITS)[:, None, :]
    half = c.shape[2]
    heads = x.reshape(len(x), -1, 2 * half)
    a, b = heads[:, :, :half], heads[:, :, half:]
    k = TABLE_BITS + points.qk - points.rope
    return np.concatenate([rs(a * c - b * s, k), rs(a * s + b * c, k)], axis=2).reshape(x.shape)


def unturned(x: np.ndarray, points: Points) -> np.ndarray:
    """ROPE by an angle of 0, of a step without a table: rs(a 2^14, 14 + qk - rope)."""
    return rs(x << TABLE_BITS, TABLE_BITS + points.qk - points.rope)


def attend(
    q: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    visible: np.ndarray,
    points: Points,
) -> np.ndarray:
    """Two-pass softmax attention of one head: int64[T, head_dim] at points.a.

    q: int64[T, head_dim], keys: int64[L, head_dim], code << exponent at points.rope, with
    log2(e)/sqrt(head_dim) folded into q; values: int64[L, head_dim] at points.v;
    visible: bool[T, L], at least one True a row.
    S = rs(q.k, 2 rope - score); d = max S - S; p = rs(X[d mod 256], min(d >> 8, 40));
    Z = sum p; A = rs(sum p v, c); a = rs(A C[i], 16 + (b-1) - c + v - a), b = bit_length(Z),
    c = max(0, b - 13), i = the 8 bits after Z's leading one.
    Sums are exact, so no order of positions matters.
    """
    score = rs(matmul_exact(q, keys), 2 * points.rope - points.score)
    lowest = np.iinfo(np.int64).min
    d = np.where(visible, score, lowest).max(axis=1, keepdims=True) - score
    exp2 = tables.exp2_table().astype(np.int64)
    steps = tables.EXP2_BITS
    p = rs(exp2[d & ((1 << steps) - 1)], np.clip(d >> steps, 0, PROBABILITY_RANGE))
    p = np.where(visible, p, 0)
    z = p.sum(axis=1)
    b = bit_length(z)
    index = (z >> (b - 1 - tables.RECIPROCAL_BITS)) & ((1 << tables.RECIPROCAL_BITS) - 1)
    reciprocal = tables.reciprocal_table().astype(np.int64)[index]
    c = np.maximum(b - MIX_BITS, 0)
    mixed = rs(matmul_exact(p, values.T), c[:, None])
    return rs(mixed * reciprocal[:, None], (16 + (b - 1) - c + points.v - points.a)[:, None])


def gate_mul(
    g: np.ndarray, u: np.ndarray, table: np.ndarray, range_bits: int, points: Points
) -> np.ndarray:
    """f = g t(g) u: int64[T, n] at points.f; g, u at points.gate.

    t(min(|g|, R)) from a gate's table of 65 entries over 0..R, linear in between; 4096 - t for
    g < 0; f = rs(rs(g t, 12 + gate - silu) u, silu + gate - f). R = 2^range_bits.
    """
    entry_bits = points.gate + range_bits - tables.GATE_INDEX_BITS
    size = np.minimum(np.abs(g), np.int64(1) << points.gate + range_bits)
    index, rest = size >> entry_bits, size & ((1 << entry_bits) - 1)
    low, high = table[index], table[np.minimum(index + 1, len(table) - 1)]
    t = low + rs((high - low) * rest, entry_bits)
    t = np.where(g < 0, tables.GATE_ONE - t, t)
    silu = rs(g * t, 12 + points.gate - points.silu)
    return rs(silu * u, points.silu + points.gate - points.f)
