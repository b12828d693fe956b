"""How sure the headlines are, and which figures decide them."""

from __future__ import annotations

from typing import Any

from hardcast.report import charts
from hardcast.report.form import number, percent
from hardcast.report.plot import Plot, Table, draw
from hardcast.report.study import Study
from hardcast.technology.uncertainty import HIGH, LOW, SAMPLES

MOST = 9  # figures of a tornado
TORNADOES = (
    ("tokens_s_user", "tokens/s, one user", "one user's tokens/s"),
    ("power_w", "W", "the dies' power"),
    ("usd_per_million_tokens", "USD a million tokens", "what a million tokens cost"),
)
PERCENTILES = (
    ("die_mm2", "area of a die, mm²"),
    ("clock_ghz", "clock, GHz"),
    ("tokens_s_user", "tokens/s, one user"),
    ("tokens_s_die", "tokens/s, a die"),
    ("power_w", "power of the dies, W"),
    ("mj_per_token", "energy a token, mJ"),
    ("die_yield", "share of dies that work"),
    ("system_usd", "a system to make, USD"),
    ("nre_usd", "design and masks, USD"),
    ("usd_per_million_tokens", "a million tokens, USD"),
)


def section(study: Study) -> dict[str, Any]:
    """Percentiles and tornado charts."""
    rows = []
    for key, label in PERCENTILES:
        band = study.headlines[key]
        values = (band.low, band.median, band.high, band.point)
        rows.append([label, *(number(value) for value in values)])
    bands = sum(
        not study.case.assumptions.figures[name].is_certain for name in study.case.assumptions.read
    )
    return {
        "rows": rows,
        "plots": [plot(study, *entry) for entry in TORNADOES],
        "samples": f"{SAMPLES:,}",
        "low": percent(LOW, 0),
        "high": percent(HIGH, 0),
        "figures": f"{bands}",
    }


def plot(study: Study, key: str, axis: str, what: str) -> Plot:
    """The figures that move one answer most."""
    swings = study.swings[key][:MOST]
    figures, point = study.case.assumptions.figures, study.headlines[key].point
    rows, lines = [], []
    for swing in swings:
        figure = figures[swing.figure]
        ends = number(swing.at_low), number(swing.at_high)
        tip = f"{swing.figure} at its low end: {ends[0]}; at its high end: {ends[1]} {axis}"
        rows.append(
            {"name": swing.figure, "at_low": swing.at_low, "at_high": swing.at_high, "tip": tip}
        )
        lines.append([swing.figure, *ends, figure.kind])
    first = f"the widest is {swings[0].figure}" if swings else "nothing does"
    return draw(
        f"tornado-{key.replace('_', '-')}",
        f"What each figure alone does to {what}: grey at its low end, blue at its high end.",
        f"Tornado chart around {number(point)}: {first}",
        charts.tornado(rows, point, axis),
        Table(["figure", "at its low end", "at its high end", "kind"], lines, frozenset({0, 3})),
    )
