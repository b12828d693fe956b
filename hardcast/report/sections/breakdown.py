"""Area and power by part of the chip, and energy of a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hardcast.report import charts
from hardcast.report.form import number, percent
from hardcast.report.plot import Plot, Table, draw
from hardcast.report.study import Study

PORT, LINKS = "host port", "links and ports"  # one part: its area, its power
TITLES = {"weights": "weight ROM", "lanes": "lanes of tiles", PORT: "host port and links"}
NONE = "–"


@dataclass(frozen=True)
class Share:
    """A part of the chip: mm2 of all dies, W that it burns at work, W that it leaks."""

    title: str
    area_mm2: float
    dynamic_w: float
    leakage_w: float

    @property
    def power_w(self) -> float:
        """Both."""
        return self.dynamic_w + self.leakage_w


def section(study: Study) -> dict[str, Any]:
    """Two plots and one table."""
    found = parts(study)
    return {
        "plots": [
            plot(
                "area",
                "Silicon by part, all dies together.",
                [(p.title, p.area_mm2) for p in found],
                "mm²",
            ),
            plot(
                "power", "Power by part, leakage in it.", [(p.title, p.power_w) for p in found], "W"
            ),
        ],
        "rows": rows(study, found),
    }


def parts(study: Study) -> list[Share]:
    """Every group of the estimate, the largest first."""
    made = study.estimate
    found = []
    for name, group in made.groups.items():
        dynamic = float(made.power_by[LINKS if name == PORT else name])
        title = TITLES.get(name, name)
        found.append(Share(title, float(group.area_mm2), dynamic, float(group.leakage_w)))
    return sorted(found, key=lambda part: -part.area_mm2)


def plot(name: str, caption: str, values: Sequence[tuple[str, float]], unit: str) -> Plot:
    """Bars of what is above 0, the largest first."""
    shown = sorted(((n, v) for n, v in values if v > 0), key=lambda item: -item[1])
    total = sum(value for _, value in shown)
    lines = [[title, number(value), percent(value / total)] for title, value in shown]
    bars = [
        {
            "name": title,
            "value": value,
            "said": f"{said} {unit}",
            "tip": f"{title}: {said} {unit}, {share}",
        }
        for (title, value), (_, said, share) in zip(shown, lines, strict=True)
    ]
    told = ", ".join(f"{title} {share}" for title, _, share in lines)
    return draw(
        name,
        caption,
        f"Bars: {told}",
        charts.bars(bars, unit),
        Table(["part", unit, "share"], lines),
    )


def rows(study: Study, found: Sequence[Share]) -> list[list[str]]:
    """Area, power and energy a token of each part, and their sums."""
    tokens = float(study.estimate.tokens_s)
    whole = Share(
        "together",
        sum(part.area_mm2 for part in found),
        sum(part.dynamic_w for part in found),
        sum(part.leakage_w for part in found),
    )
    return [
        [
            part.title,
            number(part.area_mm2) if part.area_mm2 else NONE,
            percent(part.area_mm2 / whole.area_mm2) if part.area_mm2 else NONE,
            *(number(watts) if watts else NONE for watts in (part.dynamic_w, part.leakage_w)),
            percent(part.power_w / whole.power_w),
            number(part.power_w / tokens * 1e3),
        ]
        for part in (*found, whole)
    ]
