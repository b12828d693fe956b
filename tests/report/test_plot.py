"""Plots are plain, labelled pictures with the page's colours and true positions."""

from __future__ import annotations

import builtins
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from hardcast.errors import HardcastError
from hardcast.report import charts
from hardcast.report.page import read
from hardcast.report.plot import PALETTE, Plot, Table, draw, require

pytestmark = pytest.mark.usefixtures("drawing")
ROWS = [
    {"x": x, "y": 100.0 - x / 20, "low": 80.0, "high": 120.0, "tip": f"at {x}"}
    for x in (0, 256, 512, 1023)
]
TABLE = Table(["x", "y"], [["0", "100"]])


def drawn(spec: charts.Spec) -> Plot:
    return draw("name", "caption", "what it shows", spec, TABLE)


def every_chart() -> list[Plot]:
    named = [{"of": "us", "name": "a", "value": 1.0, "x": 0, "tip": "a is 1", "said": "1"}]
    swings = [{"name": "figure", "at_low": 1.0, "at_high": 3.0, "tip": "one to three"}]
    other = [{"x": row["x"] + 1, "y": 50.0, "name": "rival", "tip": "rival"} for row in ROWS]
    moved = [{**row, "x": row["x"] + 1} for row in ROWS]
    return [
        drawn(charts.curve(ROWS, "x", "y")),
        drawn(charts.curve(moved, "x", "y", log_x=True, log_y=True, lines=other)),
        drawn(charts.bars(named, "x")),
        drawn(charts.stacked_areas(named, ["a"], "x")),
        drawn(charts.stacked_bars(named, ["a"], "x")),
        drawn(charts.tornado(swings, 2.0, "x")),
        drawn(charts.intervals([{**named[0], "low": -1.0, "high": 2.0}], "x")),
        drawn(charts.heat(named, "x")),
        drawn(charts.heat([{**named[0], "x": i, "value": i} for i in range(9)], "x")),
    ]


@pytest.fixture(scope="module")
def plots() -> list[Plot]:
    return every_chart()


def test_a_plot_is_one_labelled_picture_without_roles_within(plots: list[Plot]) -> None:
    for plot in plots:
        root = ET.fromstring(plot.svg)
        assert root.get("role") == "img" and root.get("aria-label") == "what it shows"
        for element in list(root.iter())[1:]:
            assert not [a for a in element.attrib if a == "role" or a.startswith("aria-")]
        assert "width" not in root.attrib and "viewBox" in root.attrib


def test_identifiers_are_the_plots_own(plots: list[Plot]) -> None:
    for plot in plots:
        for found in re.findall(r'\bid="([^"]+)"|url\(#([^)]+)\)', plot.svg):
            assert "".join(found).startswith("name-")


def test_every_colour_is_one_that_the_page_turns_into_its_own(plots: list[Plot]) -> None:
    style = read("style.css")
    for colour in PALETTE.values():
        for what in ("fill", "stroke"):
            assert f'.plot [{what}="{colour}"] {{ {what}: var(--' in style
    for plot in plots:
        used = set(re.findall(r'\b(?:fill|stroke|stop-color)="([^"]+)"', plot.svg))
        solid = {colour for colour in used if not colour.startswith("url(")}
        assert solid <= {*PALETTE.values(), "none", "transparent"}, solid


def test_points_stand_where_their_numbers_say(plots: list[Plot]) -> None:
    """Of the first plot: positions along x are in proportion to x, and y falls in proportion."""
    marks = re.findall(
        r'<path[^>]*transform="translate\(([\d.]+),([\d.]+)\)"[^>]*data-tip="at (\d+)"',
        plots[0].svg,
    )
    assert [int(x) for _, _, x in marks] == [0, 256, 512, 1023]
    across = [float(x) for x, _, _ in marks]
    down = [float(y) for _, y, _ in marks]
    scale = (across[-1] - across[0]) / 1023
    for place, x in zip(across, (0, 256, 512, 1023), strict=True):
        assert place - across[0] == pytest.approx(x * scale, abs=0.1)
    assert down == sorted(down) and down[-1] > down[0]


def test_intervals_reach_from_low_to_high() -> None:
    """Lengths of the lines are in proportion, and each has its point on it."""
    spans = [(-3.0, 1.0), (-1.0, 1.0), (2.0, 10.0)]
    rows = [
        {"name": f"r{low}", "value": (low + high) / 2, "low": low, "high": high, "tip": f"t{low}"}
        for low, high in spans
    ]
    svg = drawn(charts.intervals(rows, "points")).svg
    found = re.findall(
        r'<line [^>]*transform="translate\(([\d.]+),([\d.]+)\)" x2="(-?[\d.]+)" y2="0"[^>]*'
        r'stroke="#15569c"',
        svg,
    )
    marks = re.findall(r'translate\(([\d.]+),([\d.]+)\)"[^>]*data-tip="t', svg)
    scale = abs(float(found[0][2])) / 4
    assert len(found) == len(marks) == 3
    for (start, height, length), mark, (low, high) in zip(found, marks, spans, strict=True):
        assert abs(float(length)) == pytest.approx((high - low) * scale, abs=0.1)
        assert float(mark[0]) == pytest.approx(float(start) + float(length) / 2, abs=0.1)
        assert mark[1] == height


def test_what_is_said_keeps_its_digits() -> None:
    rows = [
        {"x": x, "y": 0.0012345, "low": 0.001, "high": 0.002, "tip": "0.0012345"} for x in (1, 2)
    ]
    svg = drawn(charts.curve(rows, "x", "y", log_y=True)).svg
    assert svg.count('data-tip="0.0012345"') == 2
    assert {"0.001", "0.002", "0.005"} <= set(re.findall(r">(0\.[\d]+)</text>", svg))


def test_the_same_numbers_give_the_same_picture(plots: list[Plot]) -> None:
    assert [plot.svg for plot in every_chart()] == [plot.svg for plot in plots]


def test_text_of_a_plot_is_escaped() -> None:
    bad = '<script>"&'
    rows = [{"name": bad, "value": 1.0, "said": bad, "tip": bad}]
    plot = draw("name", bad, bad, charts.bars(rows, bad), TABLE)
    assert "<script" not in plot.svg
    assert ET.fromstring(plot.svg).get("aria-label") == bad


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([10, 1_000_000], [10, 100, 1000, 10_000, 100_000, 1_000_000]),
        ([0.03, 0.6], [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]),
    ],
)
def test_places_of_a_logarithmic_axis(values: list[float], places: list[float]) -> None:
    assert charts.decades(values) == places


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name == "vl_convert":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(HardcastError, match=r"pip install 'hardcast\[report\]'"):
        require()
