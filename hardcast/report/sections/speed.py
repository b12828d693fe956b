"""Tokens/s against context, where the cycles go, and users a read."""

from __future__ import annotations

from typing import Any

from hardcast.chip.estimate import Estimate
from hardcast.report import charts
from hardcast.report.form import number, percent, plural
from hardcast.report.plot import Plot, Table, draw
from hardcast.report.study import USERS, Study
from hardcast.technology.uncertainty import Band

PARTS = ("matrices", "attention", "vectors", "wires")


def section(study: Study) -> dict[str, Any]:
    """Three plots and the table of users a read."""
    return {
        "plots": [against_position(study), cycles(study)],
        "users": users_rows(study),
        "user_plots": [
            users_plot(study, "tokens_s_user", "one user's speed", "tokens/s, one user"),
            users_plot(study, "tokens_s_die", "tokens of a die", "tokens/s, a die"),
        ],
        "impossible": [f"{users}" for users in USERS if users not in study.by_users],
        "stages": study.case.design.stages,
    }


def _between(band: Band) -> str:
    return f"{number(band.point)} ({number(band.low)} to {number(band.high)})"


def against_position(study: Study) -> Plot:
    """One user's speed over the positions of the context."""
    rows, lines = [], []
    for made, found in study.along:
        band = found["tokens_s_user"]
        rows.append(
            {
                "x": made.position,
                "y": band.point,
                "low": band.low,
                "high": band.high,
                "tip": f"position {made.position:,}: {_between(band)} tokens/s",
            }
        )
        values = (number(band.low), number(band.point), number(band.high))
        lines.append([f"{made.position:,}", f"{made.cycles.total:,}", *values])
    first, last = lines[0], lines[-1]
    return draw(
        "speed",
        "Tokens/s of one user against the token's position in the context.",
        f"Line falling from {first[3]} tokens/s at position {first[0]} to {last[3]} at {last[0]}",
        charts.curve(rows, "position in the context", "tokens/s, one user"),
        Table(["position", "cycles", "low", "point", "high"], lines),
    )


def shares(made: Estimate) -> dict[str, float]:
    """Where a token's cycles go, as shares of 1."""
    parts, total = made.cycles.by_kind, made.cycles.total
    other = parts["vector"] + parts["sample"] + total - sum(parts.values())
    values = (parts["matvec"] - made.cycles.wires, parts["attend"], other, made.cycles.wires)
    return dict(zip(PARTS, (value / total for value in values), strict=True))


def cycles(study: Study) -> Plot:
    """Shares of a token's cycles over the positions."""
    rows, lines = [], []
    for made, _ in study.along:
        found = shares(made)
        rows += [
            {"x": made.position, "name": name, "value": value} for name, value in found.items()
        ]
        lines.append([f"{made.position:,}", *(percent(value) for value in found.values())])
    last = ", ".join(f"{n} {s}" for n, s in zip(PARTS, lines[-1][1:], strict=True))
    return draw(
        "cycles",
        "Where a token's cycles go: reading matrices, attention, vectors and sampler, wires.",
        f"Stacked shares of cycles; at position {lines[-1][0]}: {last}",
        charts.stacked_areas(rows, PARTS, "position in the context"),
        Table(["position", *PARTS], lines),
    )


def users_rows(study: Study) -> list[list[str]]:
    """A row for each number of users a read."""
    found = []
    for users, (design, bands) in study.by_users.items():
        found.append(
            [
                f"{users}",
                f"{design.dies}",
                number(bands["area_mm2"].point),
                _between(bands["tokens_s_user"]),
                _between(bands["tokens_s"]),
                _between(bands["tokens_s_die"]),
                number(bands["power_w"].point),
                number(bands["mj_per_token"].point),
                number(bands["usd_per_million_tokens"].point),
            ]
        )
    return found


def users_plot(study: Study, key: str, what: str, axis: str) -> Plot:
    """Bars of one headline for each number of users a read."""
    rows, lines = [], []
    for users, (_, bands) in study.by_users.items():
        band = bands[key]
        name = plural(users, "user")
        rows.append(
            {
                "name": name,
                "value": band.point,
                "low": band.low,
                "high": band.high,
                "said": number(band.point),
                "tip": f"{name} a read: {_between(band)}",
            }
        )
        lines.append([name, number(band.low), number(band.point), number(band.high)])
    told = ", ".join(f"{line[0]} {line[2]}" for line in lines)
    return draw(
        f"users-{key.replace('_', '-')}",
        f"Users that one ROM read serves, and {what}; thin lines are bands.",
        f"Bars of {what}: {told}",
        charts.bars(rows, axis),
        Table(["users a read", "low", "point", "high"], lines),
    )
