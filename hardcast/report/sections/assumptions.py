"""Every figure that the datasheet rests on: value, band, kind, source."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hardcast.report.form import plain, unit
from hardcast.report.study import Study
from hardcast.technology.figure import KINDS, Figure


def section(study: Study) -> dict[str, Any]:
    """A row for each figure that was read, and how many there are of each kind."""
    a = study.case.assumptions
    figures = [a.figures[name] for name in sorted(a.read)]
    counts = Counter(figure.kind for figure in figures)
    return {
        "rows": [row(figure) for figure in figures],
        "count": len(figures),
        "kinds": [(kind, means, counts[kind]) for kind, means in KINDS.items() if counts[kind]],
    }


def row(figure: Figure) -> dict[str, str]:
    """A figure in print; a curve's values stand with their places."""
    band = "" if figure.is_certain else curve(figure, figure.low, figure.high)
    return {
        "name": figure.name,
        "value": curve(figure, figure.value),
        "band": band,
        "unit": unit(figure.unit),
        "kind": figure.kind,
        "source": figure.source,
        "note": figure.note,
    }


def curve(figure: Figure, low: tuple[float, ...], high: tuple[float, ...] | None = None) -> str:
    """A value, or `low to high`, at every place of a curve."""
    pairs = zip(low, high, strict=True) if high else ((value,) for value in low)
    said = [" to ".join(plain(value) for value in pair) for pair in pairs]
    if not figure.at:
        return said[0]
    return "; ".join(f"{s} at {plain(at)}" for s, at in zip(said, figure.at, strict=True)) + (
        f" {figure.over}"
    )
