"""Energy of a token against context, and beside a GPU's."""

from __future__ import annotations

from typing import Any

from hardcast.report import charts
from hardcast.report.form import number, spread
from hardcast.report.plot import Plot, Table, draw
from hardcast.report.study import Study


def section(study: Study) -> dict[str, Any]:
    """A plot, and what the wall sees."""
    rival = study.rival
    ours = study.headlines["wall_mj_per_token"]
    found: dict[str, Any] = {
        "plot": plot(study),
        "wall": spread(ours, "mJ"),
        "dies": spread(study.headlines["mj_per_token"], "mJ"),
        "wall_w": spread(study.headlines["wall_w"], "W"),
        "rival": None,
    }
    if rival is not None:
        theirs = rival.row.cells["mj_per_token"]
        if theirs.value is not None:
            found["rival"] = {
                "title": rival.row.title,
                "mj": number(theirs.value),
                "times": number(theirs.value / ours.point),
                "kind": theirs.kind,
            }
    return found


def plot(study: Study) -> Plot:
    """mJ of the dies a token, over the positions of the context."""
    rows, lines = [], []
    for made, found in study.along:
        band = found["mj_per_token"]
        three = [number(band.low), number(band.point), number(band.high)]
        rows.append(
            {
                "x": made.position,
                "y": band.point,
                "low": band.low,
                "high": band.high,
                "tip": f"position {made.position:,}: {three[1]} ({three[0]} to {three[2]}) mJ",
            }
        )
        lines.append([f"{made.position:,}", *three, number(found["power_w"].point)])
    return draw(
        "energy",
        "Energy of a token against its position: the dies alone, without card and server.",
        f"Line rising from {lines[0][2]} mJ at position {lines[0][0]} "
        f"to {lines[-1][2]} at {lines[-1][0]}",
        charts.curve(rows, "position in the context", "mJ a token"),
        Table(["position", "low, mJ", "point, mJ", "high, mJ", "W"], lines),
    )
