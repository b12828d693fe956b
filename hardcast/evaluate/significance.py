"""Tests of paired answers, exact where counts are small: McNemar's, Student's t, and their power.

Nothing here is approximate but the interval of a difference of shares: it covers the truth in 95 %
of samples, or down to 92 % where all changes go one way (tests/evaluate/test_significance.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np

ALPHA = 0.05  # two-sided
POWER = 0.8  # of the difference that "could have been seen"
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
TAIL = 8.0  # standard deviations of a binomial beyond which nothing counts


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p: as many or more on one side, were both sides equally likely.

    lost, gained: questions that only the first, and only the second, of a pair answered rightly.
    """
    changed, fewer = lost + gained, min(lost, gained)
    ways = term = 1
    for k in range(fewer):
        term = term * (changed - k) // (k + 1)
        ways += term
    return min(1.0, 2 * ways / 2**changed)


def share_interval(lost: int, gained: int, questions: int) -> tuple[float, float]:
    """95 % interval of (gained - lost) / questions as a difference of two paired shares.

    Bonett and Price (2012): Wald's with one question more on either side, so that no change seen
    is no certainty. It reaches to 0 where `mcnemar` is not below ALPHA, so that both say the same.
    """
    size = questions + 2
    middle = (gained - lost) / size
    error = math.sqrt(((lost + gained + 2) / size - middle**2) / size)
    low, high = max(-1.0, middle - Z * error), min(1.0, middle + Z * error)
    if mcnemar(lost, gained) >= ALPHA:
        low, high = min(low, 0.0), max(high, 0.0)
    return low, high


def detectable(changed: int, questions: int) -> float | None:
    """The smallest true difference of shares that `mcnemar` would find in POWER of all samples.

    changed: questions that only one of both answered rightly, as many as were seen; where the
    difference itself is larger than their share, all changes go one way. None where no
    difference, however large, would be found: fewer than six questions.
    """
    limits: dict[int, int] = {}

    def power(difference: float) -> float:
        rate = max(changed / questions, difference)
        return _power(questions, rate, difference / rate, limits)

    if power(1.0) < POWER:
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def _power(questions: int, rate: float, lean: float, limits: dict[int, int]) -> float:
    """How often the side that loses is found to.

    rate: share of questions that change. lean: (losses - gains) / changes, 0 to 1. limits: what
    `_limit` gave, kept from call to call.
    """
    spread = TAIL * math.sqrt(questions * rate * (1 - rate)) + 1
    first = max(0, math.floor(questions * rate - spread))
    last = min(questions, math.ceil(questions * rate + spread))
    total = 0.0
    for changes in range(first, last + 1):
        if changes not in limits:
            limits[changes] = _limit(changes)
        gains = np.arange(limits[changes] + 1)
        found = float(_binomial(changes, gains, (1 - lean) / 2).sum())
        total += found * float(_binomial(questions, np.array([changes]), rate)[0])
    return total


def _limit(changes: int) -> int:
    """The most gains among so many changes with `mcnemar` below ALPHA; -1 if there are none."""
    shares = np.cumsum(_binomial(changes, np.arange(changes // 2 + 1), 0.5))
    return int(np.searchsorted(2 * shares, ALPHA)) - 1


def _binomial(size: int, counts: np.ndarray, share: float) -> np.ndarray:
    """Probabilities float64 of int64 counts of `size`, each with probability `share`."""
    if share in (0.0, 1.0):
        return (counts == size * share).astype(np.float64)
    logs = _log_factorials(size.bit_length())
    ways = logs[size] - logs[counts] - logs[size - counts]
    return np.exp(ways + counts * math.log(share) + (size - counts) * math.log1p(-share))


@cache
def _log_factorials(bits: int) -> np.ndarray:
    """log(k!) float64 of every k below 2^bits."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 1 << bits)))])


def student_p(t: float, freedom: int) -> float:
    """Two-sided p of Student's t with `freedom` degrees, at least 1 (the finite series)."""
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = (cosine if odd else 1.0) if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return max(0.0, 1.0 - inside)


def student_quantile(p: float, freedom: int) -> float:
    """The t that a share `p`, above 0 and below 1, of both tails together lies beyond."""
    low, high = 0.0, 1.0
    while student_p(high, freedom) > p:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, freedom) > p else (low, middle)
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p as if it stood alone, though all were tested: Holm's step-down correction."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
