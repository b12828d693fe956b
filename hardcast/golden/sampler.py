"""SAMPLE in integers: greedy, Gumbel noise over the vocabulary, or a draw among the top K.

Same seed, position and logits give the same token in every executor.
"""

from __future__ import annotations

import numpy as np

from hardcast.numerics import tables
from hardcast.numerics.fixed import bit_length, rescale, rs
from hardcast.numerics.sampling import TEMPERATURE_BITS, SamplerSettings, philox

SCORE_BITS = 16  # fraction bits of a logit in log2 units
LOG_BITS = 24  # fraction bits of the log2 and tail tables


def sample(logits: np.ndarray, settings: SamplerSettings, position: int, point: int) -> int:
    """The next token id. logits: int[vocab] at `point`; position: of the token to come.

    Ties go to the smaller id everywhere.
    """
    logits = logits.astype(np.int64)
    if settings.greedy:
        return int(np.argmax(logits))
    scores = rescale(logits * settings.inverse_temperature, TEMPERATURE_BITS + point - SCORE_BITS)
    if not settings.candidates:
        return int(np.argmax(scores + gumbel_noise(len(logits), position, settings.seed)))
    return _draw_among_largest(logits, scores, settings, position)


def gumbel_noise(count: int, position: int, seed: int) -> np.ndarray:
    """-log2(-log2(u)) for each token id: int64[count] at SCORE_BITS.

    Word r of token t is word t mod 4 of philox(t div 4). v = (2r + 1) / 2^33 = 1 - u:
    v < 1/2: -log2(v) - tail(v); otherwise -log2(-log2(1 - v)) by the log2 table twice.
    """
    words = philox(np.arange(-(-count // 4)), position, seed).reshape(-1)[:count]
    v = 2 * words.astype(np.int64) + 1
    near = -log2_fixed(v, 33) - _tail(v)
    inner = -log2_fixed((np.int64(1) << 33) - v, 33)  # -log2(1 - v) >= 2^-33 since v >= 1
    far = -log2_fixed(np.maximum(inner, 1), LOG_BITS)
    return rs(np.where(v < 1 << 32, near, far), LOG_BITS - SCORE_BITS)


def log2_fixed(x: np.ndarray, point: int) -> np.ndarray:
    """log2(x * 2^-point) for int64 x >= 1, at LOG_BITS: 257 entries, linear in between."""
    table = tables.log2_table().astype(np.int64)
    length = bit_length(x)
    mantissa = x << (40 - length)  # in [2^39, 2^40)
    index, rest = (mantissa >> 31) - 256, mantissa & ((1 << 31) - 1)
    fraction = table[index] + rs((table[index + 1] - table[index]) * (rest >> 11), 20)
    return ((length - 1 - point) << LOG_BITS) + fraction


def _tail(v: np.ndarray) -> np.ndarray:
    """log2(-log2(1 - v) / v) for v at 33 fraction bits below 1/2, at LOG_BITS."""
    table = tables.tail_table().astype(np.int64)
    index, rest = np.minimum(v >> 24, 255), v & ((1 << 24) - 1)
    return table[index] + rs((table[index + 1] - table[index]) * (rest >> 4), 20)


def _draw_among_largest(
    logits: np.ndarray, scores: np.ndarray, settings: SamplerSettings, position: int
) -> int:
    """Keeps the K largest logits, the shortest prefix of them with mass >= top_p, and draws.

    p = rs(X[fraction], whole) from the exp2 table; the draw walks the prefix until the sum
    passes (r * Z) >> 32, r being word 0 of philox(0).
    """
    order = np.lexsort((np.arange(len(logits)), -logits))[: settings.candidates]
    d = scores[order[0]] - scores[order]
    exp2 = tables.exp2_table().astype(np.int64)
    drop = SCORE_BITS - tables.EXP2_BITS
    index = (d >> drop) & ((1 << tables.EXP2_BITS) - 1)
    p = rs(exp2[index], np.minimum(d >> SCORE_BITS, 40))
    sums = np.cumsum(p)
    kept = int(np.searchsorted(sums << 16, sums[-1] * settings.top_p)) + 1
    r = int(philox(np.zeros(1, np.int64), position, settings.seed)[0, 0])
    target = (r * int(sums[kept - 1])) >> 32
    return int(order[np.searchsorted(sums[:kept], target, side="right")])
