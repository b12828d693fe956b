"""The model held against published chips with one set of figures: residuals, pass or fail, why.

A miss names the single figure that would explain it: of all figures that move the quantity, the
one whose needed value lies least far beyond its own band.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hardcast.economics.anchors import Anchor, alternatives, checks, get_anchor, ours
from hardcast.economics.quote import priced_assumptions
from hardcast.economics.roofline import roofline_figures
from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.figure import Figure

REACH = 100.0  # factors beyond which no figure is asked to go
STEPS = 60


@dataclass(frozen=True)
class Remedy:
    """The one assumption that would explain a miss, and what it would have to be.

    beyond: 1 or less where that lies in the figure's band; otherwise how many bands away, on a
    logarithmic scale; infinite for an assumption of ours about a design, which has no band.
    """

    figure: str
    text: str
    beyond: float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Residual:
    """A published quantity and ours. ratio: ours over published. within: the tolerance.

    bound: ours is what the published figure must not exceed.
    place: on a published curve, and its unit. remedy: of a miss, None where no figure explains it.
    """

    anchor: str
    quantity: str
    place: str
    unit: str
    published: float
    ours: float
    within: float
    bound: bool
    kind: str
    source: str
    note: str
    remedy: Remedy | None

    @property
    def ratio(self) -> float:
        """ours / published."""
        return self.ours / self.published

    @property
    def passes(self) -> bool:
        """Whether the ratio lies within the tolerance: either way, or above 1 for a bound."""
        return (1.0 if self.bound else 1 / self.within) <= self.ratio <= self.within


def anchor_names() -> list[str]:
    """The anchors that something is checked of, in order."""
    return list(dict.fromkeys(check["anchor"] for check in checks()["check"]))


def anchor_assumptions(anchor: Anchor) -> Assumptions:
    """The one set of figures, with those of the anchor's node."""
    return priced_assumptions(anchor.node).joined(roofline_figures())


def validate(
    progress: Callable[[str, int, int], None] | None = None, only: str | None = None
) -> list[Residual]:
    """Every check of anchors/checks.toml, or those of one anchor."""
    entries = [check for check in checks()["check"] if only in (None, check["anchor"])]
    found = []
    for done, entry in enumerate(entries):
        anchor = get_anchor(entry["anchor"])
        name = entry["quantity"]
        figure = anchor.facts.figures[f"published.{name}"]
        for place in entry.get("at", [0.0]):
            tolerance = (entry["within"], entry.get("bound", False))
            found.append(_residual(anchor, figure, name, place, tolerance))
        if progress:
            progress("validating", done + 1, len(entries))
    return found


def _residual(
    anchor: Anchor, figure: Figure, name: str, place: float, tolerance: tuple[float, bool]
) -> Residual:
    within, bound = tolerance
    a = anchor_assumptions(anchor)
    index = figure.at.index(place) if figure.at else 0
    published = figure.value[index]

    def answer(assumptions: Assumptions) -> float:
        return float(ours(anchor, assumptions)[name](place))

    value = answer(a)
    residual = Residual(
        anchor=anchor.name,
        quantity=name,
        place=f"{place:g} {figure.over}" if figure.at else "",
        unit=figure.unit,
        published=published,
        ours=value,
        within=within,
        bound=bound,
        kind=figure.kind,
        source=figure.source,
        note=figure.note,
        remedy=None,
    )
    if residual.passes:
        return residual
    goal = published * (within if residual.ratio > 1 else 1 / within)
    remedy = explain(answer, a, goal)
    if remedy is None or remedy.beyond > 1:
        remedy = _other_design(anchor, name, place, a, published, within) or remedy
    return Residual(**{**residual.__dict__, "remedy": remedy})


def explain(answer: Callable[[Assumptions], Real], a: Assumptions, goal: float) -> Remedy | None:
    """The single figure that would bring the answer to `goal` at the least strain, if any would."""
    fresh = Assumptions(a.figures, a.texts, a.chosen, a.factors)
    answer(fresh)
    found = []
    for name in sorted(fresh.read):
        figure = a.figures[name]
        factor = _needed(_scaled(answer, a, name), goal)
        if factor is None or figure.is_certain or figure.value[0] <= 0:
            continue
        value, low, high = (side[-1] for side in (figure.value, figure.low, figure.high))
        edge = high / value if factor > 1 else value / low if low > 0 else math.inf
        strain = abs(math.log(factor)) / math.log(edge) if edge > 1 else math.inf
        where = "within" if strain <= 1 else "beyond"
        if figure.at:
            said = f"{factor:.3g} times its curve, {where} its band of {low / value:.3g} to "
            said += f"{high / value:.3g} times"
        else:
            unit = "" if figure.unit == "1" else f" {figure.unit}"
            said = f"{value * factor:.3g}{unit} instead of {value:.3g}, {where} its band "
            said += f"of {low:.3g} to {high:.3g}"
        found.append(Remedy(name, f"{name} would have to be {said}", strain))
    return min(found, key=lambda remedy: remedy.beyond, default=None)


def _scaled(
    answer: Callable[[Assumptions], Real], a: Assumptions, name: str
) -> Callable[[float], float]:
    """The answer as a function of what one figure is multiplied by."""
    return lambda factor: float(answer(a.scaled(name, factor)))


def _other_design(
    anchor: Anchor, name: str, place: float, a: Assumptions, published: float, within: float
) -> Remedy | None:
    """The first other value of something that we assumed of the anchor's design, which passes."""
    for parameter, value, instead, changed in alternatives(anchor):
        try:
            ratio = float(ours(changed, a)[name](place)) / published
        except HardcastError:  # no chip has that value
            continue
        if 1 / within <= ratio <= within:
            said = f"{parameter} of its design would have to be {instead} instead of {value}"
            return Remedy(parameter, f"{said} (our assumption: it is not published)", math.inf)
    return None


def _needed(answer: Callable[[float], float], goal: float) -> float | None:
    """The factor nearest to 1 at which a monotone answer reaches the goal, None beyond REACH."""
    start = answer(1.0)
    for end in (REACH, 1 / REACH):
        if (answer(end) - goal) * (start - goal) > 0:
            continue
        near, far = 0.0, math.log(end)
        for _ in range(STEPS):
            middle = (near + far) / 2
            if (answer(math.exp(middle)) - goal) * (start - goal) > 0:
                near = middle
            else:
                far = middle
        return math.exp(far)
    return None
