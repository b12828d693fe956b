"""The figures that an answer rests on: read by name, at their points, at their ends, or sampled.

Everything computed from them is elementwise arithmetic, so the same functions give one answer at
the points and thousands at once from samples. What was read is remembered: an answer can list
its assumptions.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hardcast.errors import HardcastError
from hardcast.technology.figure import Figure, on_curve

Real = float | np.ndarray
"""A figure or what is computed from figures: one number, or float64[samples]."""


@dataclass(frozen=True)
class Assumptions:
    """Figures by name, and what each is taken to be.

    texts: what is no number (a node's title). chosen: quantile in 0..1 of a figure, or
    float64[samples] of them; a figure without one is at its point. factors: what a figure's value
    is multiplied by (validate asks what value would explain a miss). read: names read so far.
    """

    figures: Mapping[str, Figure]
    texts: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, Real] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    read: set[str] = field(default_factory=set, compare=False)
    _known: dict[str, np.ndarray] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _plain: dict[str, Real] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getitem__(self, name: str) -> Real:
        """The value of a figure that is no curve: float, or float64[samples]."""
        value = self._plain.get(name)
        if value is None:
            figure = self._figure(name)
            if figure.at:
                raise HardcastError(f"{name} is a curve over {figure.over}: ask for it at a place")
            value = self._plain[name] = _plain(self._values(figure)[0])
        self.read.add(name)
        return value

    def at(self, name: str, x: Real) -> Real:
        """A curve's value at x."""
        figure = self._figure(name)
        if not figure.at:
            raise HardcastError(f"{name} is no curve")
        values = self._values(figure)
        if values.ndim == 1 and not isinstance(x, np.ndarray):
            return on_curve(figure.at, values.tolist(), float(x))
        return _plain(figure.read(values, x))

    def _figure(self, name: str) -> Figure:
        if name not in self.figures:
            near = difflib.get_close_matches(name, self.figures, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise HardcastError(f"no figure {name!r}{hint}")
        self.read.add(name)
        return self.figures[name]

    def _values(self, figure: Figure) -> np.ndarray:
        """float64[points of the curve, ...], kept from the first time, so not to be written to."""
        values = self._known.get(figure.name)
        if values is None:
            if figure.name in self.chosen:
                values = figure.quantile(self.chosen[figure.name])
            else:
                values = np.array(figure.value)
            values = values * self.factors.get(figure.name, 1.0)
            values.flags.writeable = False
            self._known[figure.name] = values
        return values

    def joined(self, other: Assumptions) -> Assumptions:
        """Both together. Raises HardcastError for a figure that both have."""
        if both := sorted(set(self.figures) & set(other.figures)):
            raise HardcastError(f"two figures are called {both[0]}")
        return Assumptions(
            {**self.figures, **other.figures},
            {**self.texts, **other.texts},
            {**self.chosen, **other.chosen},
            {**self.factors, **other.factors},
        )

    def at_quantile(self, name: str, u: Real) -> Assumptions:
        """The same with one figure at a quantile, or several: 0 its low end, 1 its high end."""
        return Assumptions(
            self.figures, self.texts, {**self.chosen, name: u}, self.factors, self.read
        )

    def scaled(self, name: str, factor: float) -> Assumptions:
        """The same with one figure multiplied."""
        return Assumptions(
            self.figures, self.texts, self.chosen, {**self.factors, name: factor}, self.read
        )

    def sampled(self, samples: int, seed: int = 0) -> Assumptions:
        """Every figure that has a band drawn `samples` times, independently of the others.

        The draw of a figure depends on the seed and its name alone, so that adding a figure
        changes no other's.
        """
        chosen: dict[str, Real] = {}
        for name, figure in self.figures.items():
            if not figure.is_certain:
                key = [seed, *name.encode()]
                chosen[name] = np.random.default_rng(key).random(samples)
        return Assumptions(self.figures, self.texts, chosen, self.factors, self.read)


def middle(value: Real) -> float:
    """A value at the points, or the median of its samples."""
    return float(np.median(value)) if isinstance(value, np.ndarray) else float(value)


def _plain(value: np.ndarray) -> Real:
    return float(value) if value.ndim == 0 else value
