"""The kinds of chart that a datasheet has, as Vega-Lite views over rows of plain numbers.

Every row has a `tip`: what a reader who points at its mark is told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hardcast.report.plot import ACCENT, BAND, HEIGHT, INK, SECOND, TONE3, TONES, Spec

Row = dict[str, Any]
BAR = 22  # pixels that a bar and the gap below it take
LETTER = 0.028  # of the longest bar: what a letter of the number at its end takes
PLAIN, PERCENT = ",.10~g", "~%"  # Vega's formats of an axis: 20,000 and 0.02; 50 %


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": title, "axis": {"tickCount": 5, **more}}


def _tip() -> dict[str, Any]:
    return {"field": "tip", "type": "nominal"}


def _names(room: int, field: str = "name") -> dict[str, Any]:
    """The upright axis of bars: what each is called, in the rows' order. room: pixels for that."""
    axis = {"labelColor": INK, "labelPadding": 6, "ticks": False, "domain": False}
    return {
        "field": field,
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {**axis, "labelLimit": room},
    }


def curve(
    rows: Sequence[Row],
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    lines: Sequence[Row] = (),
    percent_x: bool = False,
) -> Spec:
    """A line through x, y with the band low..high about it, and another line to compare with.

    rows: x, y, low, high, tip. lines: x, y, name, tip of the other line, drawn dashed and named.
    """
    every = [*rows, *lines]
    across = {
        "field": "x",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False} if log_x else {"zero": True, "nice": False},
        **_axis(x, grid=False, format=PERCENT if percent_x else PLAIN),
    }
    up = {
        "type": "quantitative",
        "scale": {"type": "log"} if log_y else {"zero": True},
        **_axis(y, domain=False, format=PLAIN),
    }
    if log_x:
        across["axis"]["values"] = decades([row["x"] for row in rows])
    if log_y:
        ends = [row[end] for row in every for end in ("y", "low", "high") if end in row]
        up["axis"] |= {"values": decades(ends), "labelOverlap": False}
    layers: list[Row] = [
        {
            "mark": {"type": "area", "color": BAND, "aria": False},
            "encoding": {"x": across, "y": {"field": "low", **up}, "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "line", "color": ACCENT, "strokeWidth": 2, "aria": False},
            "encoding": {"x": across, "y": {"field": "y", **up}},
        },
    ]
    if lines:
        layers += _other(list(lines), across, up)
    layers.append(
        {
            "mark": {"type": "point", "filled": True, "color": ACCENT, "size": 36, "opacity": 1},
            "encoding": {"x": across, "y": {"field": "y", **up}, "description": _tip()},
        }
    )
    return Spec({"data": {"values": list(rows)}, "layer": layers})


def decades(values: Sequence[float]) -> list[float]:
    """Places of a logarithmic axis: powers of ten, with 2 and 5 where those are few."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1, 2, 5) if high - low < 3 else (1,)
    return [float(f"{step}e{power}") for power in range(low, high + 1) for step in steps]


def _other(lines: list[Row], across: Row, up: Row) -> list[Row]:
    """A dashed line; its name stands above it, where a falling line leaves room: on its right."""
    falls = lines[-1]["y"] < lines[0]["y"]
    place = {"x": across, "y": {"field": "y", **up}}
    text = {
        "type": "text",
        "align": "left" if falls else "right",
        "baseline": "bottom",
        "dy": -6,
        "color": INK,
        "fontSize": 12,
        "aria": False,
    }
    return [
        {
            "data": {"values": lines},
            "mark": {"type": "line", "color": INK, "strokeDash": [5, 3], "aria": False},
            "encoding": place,
        },
        {
            "data": {"values": lines},
            "mark": {"type": "point", "filled": True, "color": INK, "size": 14, "opacity": 1},
            "encoding": {**place, "description": _tip()},
        },
        {
            "data": {"values": [lines[len(lines) // 4 if falls else -1]]},
            "mark": text,
            "encoding": {**place, "text": {"field": "name"}},
        },
    ]


def bars(rows: Sequence[Row], x: str) -> Spec:
    """Horizontal bars, in the rows' order, each with its number at its end.

    rows: name, value, said (the number in print), tip; start where a bar does not begin at 0; low
    and high where it has a band.
    """
    names = _names(190)
    most = max(max(row.get("high", 0), row.get("start", 0) + row["value"]) for row in rows)
    room = 1.06 + LETTER * max(len(row["said"]) for row in rows)
    across = {
        "type": "quantitative",
        "scale": {"domain": [0, (most or 1) * room], "nice": False},
        **_axis(x, format=PLAIN, domain=False),
    }
    data = [
        {"start": 0.0, "low": None, "high": None, **row, "end": row.get("start", 0) + row["value"]}
        for row in rows
    ]
    layers: list[Row] = [
        {
            "mark": {"type": "bar", "color": ACCENT, "height": {"band": 0.62}},
            "encoding": {
                "y": names,
                "x": {"field": "start", **across},
                "x2": {"field": "end"},
                "description": _tip(),
            },
        }
    ]
    if any("low" in row for row in rows):
        layers.append(
            {
                "mark": {"type": "rule", "color": INK, "strokeWidth": 1.5, "aria": False},
                "encoding": {"y": names, "x": {"field": "low", **across}, "x2": {"field": "high"}},
            }
        )
    layers.append(
        {
            "transform": [{"calculate": "max(datum.end, datum.high)", "as": "edge"}],
            "mark": {
                "type": "text",
                "align": "left",
                "dx": 5,
                "color": INK,
                "fontSize": 12,
                "aria": False,
            },
            "encoding": {"y": names, "x": {"field": "edge", **across}, "text": {"field": "said"}},
        }
    )
    return Spec({"data": {"values": data}, "layer": layers}, height=52 + BAR * len(rows))


def stacked_areas(rows: Sequence[Row], names: Sequence[str], x: str) -> Spec:
    """Shares of 1 over x, one above the other. rows: x, name, value."""
    colour = _tones(names)
    order = {name: index for index, name in enumerate(names)}
    return Spec(
        {
            "data": {"values": [{**row, "order": order[row["name"]]} for row in rows]},
            "mark": {"type": "area", "aria": False, "line": False},
            "encoding": {
                "x": {
                    "field": "x",
                    "type": "quantitative",
                    "scale": {"nice": False},
                    **_axis(x, grid=False, format=PLAIN),
                },
                "y": {
                    "field": "value",
                    "type": "quantitative",
                    "scale": {"domain": [0, 1]},
                    **_axis("of a token's cycles", format=PERCENT, domain=False),
                },
                "color": colour,
                "order": {"field": "order", "type": "quantitative"},
            },
        }
    )


def stacked_bars(rows: Sequence[Row], names: Sequence[str], x: str) -> Spec:
    """Shares of 1 as horizontal bars, one for each `of`. rows: of, name, value, said, tip."""
    order = {name: index for index, name in enumerate(names)}
    y = _names(150, "of")
    across = {
        "field": "value",
        "type": "quantitative",
        "stack": "zero",
        "scale": {"domain": [0, 1]},
        **_axis(x, format=PERCENT, domain=False),
    }
    count = len({row["of"] for row in rows})
    return Spec(
        {
            "data": {"values": [{**row, "order": order[row["name"]]} for row in rows]},
            "mark": {"type": "bar", "height": {"band": 0.6}},
            "encoding": {
                "y": y,
                "x": across,
                "color": _tones(names),
                "order": {"field": "order", "type": "quantitative"},
                "description": _tip(),
            },
        },
        height=84 + 40 * count,
    )


def _tones(names: Sequence[str]) -> Row:
    return {
        "field": "name",
        "type": "nominal",
        "scale": {"domain": list(names), "range": list(TONES[: len(names)])},
        "legend": {"columns": 2 if len(names) > 3 else len(names)},
    }


def tornado(rows: Sequence[Row], point: float, x: str) -> Spec:
    """What each figure alone does: bars from at_low to at_high about the point.

    rows: name, at_low, at_high, tip; the widest first.
    """
    y = _names(210)
    across = {
        "type": "quantitative",
        "scale": {"zero": False},
        **_axis(x, format=PLAIN, tickCount=4),
    }
    layers: list[Row] = []
    for end, colour in (("at_low", TONE3), ("at_high", ACCENT)):
        layers.append(
            {
                "mark": {"type": "bar", "color": colour, "height": {"band": 0.62}},
                "encoding": {
                    "y": y,
                    "x": {"field": end, **across},
                    "x2": {"datum": point},
                    "description": _tip(),
                },
            }
        )
    layers.append(
        {
            "data": {"values": [{}]},
            "mark": {"type": "rule", "color": SECOND, "aria": False},
            "encoding": {"x": {"datum": point, "type": "quantitative"}},
        }
    )
    return Spec({"data": {"values": list(rows)}, "layer": layers}, height=52 + BAR * len(rows))


def intervals(rows: Sequence[Row], x: str) -> Spec:
    """A point with its interval a row, about a line at 0. rows: name, value, low, high, tip."""
    y = _names(190)
    across = {
        "type": "quantitative",
        "scale": {"zero": True},
        **_axis(x, format=PLAIN),
    }
    layers: list[Row] = [
        {
            "data": {"values": [{}]},
            "mark": {"type": "rule", "color": SECOND, "aria": False},
            "encoding": {"x": {"datum": 0, "type": "quantitative"}},
        },
        {
            "mark": {"type": "rule", "color": ACCENT, "strokeWidth": 2, "aria": False},
            "encoding": {"y": y, "x": {"field": "low", **across}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "filled": True, "color": INK, "size": 42, "opacity": 1},
            "encoding": {"y": y, "x": {"field": "value", **across}, "description": _tip()},
        },
    ]
    return Spec({"data": {"values": list(rows)}, "layer": layers}, height=52 + BAR * len(rows))


def heat(rows: Sequence[Row], x: str) -> Spec:
    """A cell for each x and name, darker for more. rows: x, name, value, tip."""
    names = levels([row["value"] for row in rows])
    shades = dict.fromkeys(names.values())
    # Two tones are the lightest and the darkest; one is in the middle.
    tones = [TONES[i] for i in {1: (1,), 2: (3, 0), 3: (3, 1, 0)}.get(len(shades), (3, 2, 1, 0))]
    count = len({row["name"] for row in rows})
    return Spec(
        {
            "data": {"values": [{**row, "shade": names[row["value"]]} for row in rows]},
            "mark": {"type": "rect", "stroke": None},
            "encoding": {
                "x": {
                    "field": "x",
                    "type": "ordinal",
                    "title": x,
                    "axis": {
                        "labelAngle": 0,
                        "labelOverlap": True,
                        "ticks": False,
                        "domain": False,
                    },
                    "scale": {"paddingInner": 0.08},
                },
                "y": {**_names(120), "scale": {"paddingInner": 0.12}},
                "color": {
                    "field": "shade",
                    "type": "nominal",
                    "scale": {"domain": list(shades), "range": tones},
                },
                "description": _tip(),
            },
        },
        height=HEIGHT if count > 5 else 60 + 28 * count,
    )


def levels(values: Sequence[float]) -> dict[float, str]:
    """A name for each value: its own where there are no more than tones, else its range."""
    steps = sorted(set(values))
    groups = min(len(steps), len(TONES))
    found: dict[float, str] = {}
    for group in range(groups):
        part = steps[group * len(steps) // groups : (group + 1) * len(steps) // groups]
        name = f"{part[0]:g}" if len(part) == 1 else f"{part[0]:g}–{part[-1]:g}"
        found |= dict.fromkeys(part, name)
    return found
