"""What a search wants more or less of, and what it does not put up with."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardcast.errors import HardcastError
from hardcast.explore.evaluate import Result
from hardcast.explore.pareto import pareto_front
from hardcast.explore.space import Value

UP, DOWN = 1, -1


@dataclass(frozen=True)
class Quantity:
    """A figure of a point. way: UP if more is better. form: how a table shows it."""

    title: str
    unit: str
    way: int
    form: str


QUANTITIES = {
    "tokens_s_user": Quantity("tokens/s of one user", "", UP, ",.0f"),
    "tokens_s_die": Quantity("tokens/s a die", "", UP, ",.0f"),
    "tokens_s": Quantity("tokens/s of all users", "", UP, ",.0f"),
    "area_mm2": Quantity("silicon", "mm2", DOWN, ",.0f"),
    "die_mm2": Quantity("a die", "mm2", DOWN, ",.0f"),
    "dies": Quantity("dies", "", DOWN, ".0f"),
    "clock_ghz": Quantity("clock", "GHz", UP, ".3f"),
    "power_w": Quantity("power", "W", DOWN, ",.0f"),
    "watt_per_mm2": Quantity("power density", "W/mm2", DOWN, ".3f"),
    "mj_per_token": Quantity("energy a token", "mJ", DOWN, ",.3f"),
    "usd_per_million_tokens": Quantity("USD a million tokens", "USD", DOWN, ".5f"),
    "weight_bits": Quantity("bits of a weight's code", "bit", UP, ".2f"),
}
"""Every figure of a point, in the order of evaluate.py; any of them may be an objective."""

DEFAULT = ("tokens_s_user", "tokens_s_die", "area_mm2", "mj_per_token", "usd_per_million_tokens")


def parse_objectives(text: str) -> tuple[str, ...]:
    """Names between commas. Raises HardcastError for an unknown one or one that stands twice."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in QUANTITIES:
            near = difflib.get_close_matches(name, QUANTITIES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise HardcastError(
                f"no objective {name!r:.60}; {hint}there are: {', '.join(QUANTITIES)}"
            )
        if names.count(name) > 1:
            raise HardcastError(f"objective {name} stands twice")
    return names


@dataclass(frozen=True)
class Limit:
    """A constraint: `figure` at most `value` (way DOWN) or at least (UP). option: what set it."""

    option: str
    figure: str
    way: int
    value: float

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether a point keeps to it."""
        return self.way * figures[self.figure] >= self.way * self.value

    def __str__(self) -> str:
        return f"{'over' if self.way == DOWN else 'under'} {self.option} {self.value:g}"


@dataclass(frozen=True)
class Answer:
    """What a search found. feasible: points that are chips at all; within: and keep to the limits.

    front: of these, the ones that no other beats, the first objective's best first. reasons: how
    many points were left out, by why, the most frequent first.
    """

    points: int
    feasible: int
    within: int
    front: tuple[Result, ...]
    reasons: Mapping[str, int]


def answer(
    results: Sequence[Result], objectives: Sequence[str], limits: Sequence[Limit] = ()
) -> Answer:
    """The front of evaluated points. It does not depend on the order in which they come."""
    reasons: dict[str, int] = {}
    feasible, within = 0, []
    for result in sorted(results, key=lambda r: r.point):
        broken = [] if result.reason else [n for n in limits if not n.holds(result.figures)]
        feasible += not result.reason
        if result.reason or broken:
            reason = result.reason or str(broken[0])
            reasons[reason] = reasons.get(reason, 0) + 1
        else:
            within.append(result)
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    front = _front(_distinct(within), objectives)
    return Answer(len(results), feasible, len(within), front, dict(ordered))


def _distinct(results: Sequence[Result]) -> list[Result]:
    """Without points that turned out to be the same chip as an earlier one."""
    found: dict[tuple[tuple[str, Value], ...], Result] = {}
    for result in results:
        found.setdefault(tuple(sorted(result.parameters.items())), result)
    return list(found.values())


def _front(results: Sequence[Result], objectives: Sequence[str]) -> tuple[Result, ...]:
    ways = np.array([QUANTITIES[name].way for name in objectives])
    values = np.array([[r.figures[name] for name in objectives] for r in results], np.float64)
    losses = -ways * values.reshape(len(results), len(objectives))
    front = pareto_front(losses)
    ordered = sorted(front.tolist(), key=lambda i: (tuple(losses[i]), results[i].point))
    return tuple(results[i] for i in ordered)
