"""How sure an answer is: percentiles by Monte Carlo, and what decides it, a figure at a time.

The answer is any function of Assumptions that is elementwise in them, as everything in chip and
economics is: one call with sampled figures gives all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hardcast.technology.assumptions import Assumptions, Real

Answer = Callable[[Assumptions], Mapping[str, Real]]
SAMPLES, SEED = 2000, 0
LOW, HIGH = 0.1, 0.9  # quantiles that a band's ends stand for


@dataclass(frozen=True)
class Band:
    """A headline: at the figures' points, and the 10th and 90th percentile of its samples.

    median: of the samples; it differs from the point where the formula is not linear.
    """

    low: float
    point: float
    high: float
    median: float

    def to_json(self) -> dict[str, float]:
        """low and high (10th and 90th percentile), median, and the point."""
        return {"low": self.low, "point": self.point, "median": self.median, "high": self.high}

    def scaled(self, factor: float) -> Band:
        """In another unit."""
        return Band(*(factor * v for v in (self.low, self.point, self.high, self.median)))


@dataclass(frozen=True)
class Swing:
    """What one figure alone does to a headline: its value at the figure's own 10 % and 90 %."""

    figure: str
    at_low: float
    at_high: float

    @property
    def width(self) -> float:
        """How far apart the two are."""
        return abs(self.at_high - self.at_low)


def bands(
    answer: Answer, a: Assumptions, samples: int = SAMPLES, seed: int = SEED
) -> dict[str, Band]:
    """Every headline of an answer with its band. The same seed gives the same band."""
    points = answer(a)
    drawn = answer(a.sampled(samples, seed))
    found = {}
    for name, point in points.items():
        low, median, high = np.quantile(np.broadcast_to(drawn[name], samples), (LOW, 0.5, HIGH))
        found[name] = Band(float(low), float(point), float(high), float(median))
    return found


def tornado(answer: Answer, a: Assumptions) -> dict[str, list[Swing]]:
    """For every headline the figures that move it, the widest swing first.

    Only figures that the answer reads are tried, one at a time, the others at their points.
    """
    fresh = Assumptions(a.figures, a.texts, a.chosen, a.factors)
    points = answer(fresh)
    swings: dict[str, list[Swing]] = {name: [] for name in points}
    for figure in sorted(fresh.read):
        if a.figures[figure].is_certain:
            continue
        # With the point between the ends, an end that cannot be made is no answer that fails:
        # it is reckoned as if it could be, as it is among samples.
        ends = answer(a.at_quantile(figure, np.array([LOW, 0.5, HIGH])))
        for name in points:
            values = np.broadcast_to(ends[name], 3)
            swing = Swing(figure, float(values[0]), float(values[2]))
            if swing.width:
                swings[name].append(swing)
    return {name: sorted(found, key=lambda s: -s.width) for name, found in swings.items()}
