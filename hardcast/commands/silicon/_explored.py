"""What `explore -o` writes: every point as CSV or JSON, pictures of the front as SVG or HTML."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hardcast import __version__
from hardcast.errors import HardcastError
from hardcast.explore.evaluate import Result
from hardcast.explore.objectives import QUANTITIES, UP, Answer
from hardcast.files import check_file
from hardcast.report.plot import ACCENT, INK, LINE, SECOND, TONE3, Plot, Spec, Table, draw, require
from hardcast.report.save import save

MOST_GREY = 1500  # points that lose, in a picture
FONT = "Liberation Sans, Arial, sans-serif"
STYLE = f"""
body {{ font: 16px/1.5 {FONT}; color: {INK}; background: #fff; margin: 2rem auto; max-width: 60rem;
  padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} p, figcaption, th {{ color: {SECOND}; }}
figure {{ margin: 2rem 0; }} svg {{ width: 100%; height: auto; }}
div {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: 0.875rem; }}
th, td {{ text-align: right; padding: 0.25rem 0.6rem; border-bottom: 1px solid {LINE};
  white-space: nowrap; }}
"""


@dataclass(frozen=True)
class Explored:
    """A search that is done. summary: of --json, without the front. rows: the front as a table."""

    title: str
    results: Sequence[Result]
    answer: Answer
    objectives: Sequence[str]
    summary: Mapping[str, Any]
    rows: tuple[list[str], list[list[str]]]


def entry(result: Result) -> dict[str, Any]:
    """A point as --json and a .json file give it."""
    found: dict[str, Any] = {"point": result.point}
    if result.reason:
        return {**found, "reason": result.reason}
    return {**found, "parameters": dict(result.parameters), "figures": dict(result.figures)}


def check_output(path: Path, force: bool) -> None:
    """Raises HardcastError for a file that could not be written at the end of a search."""
    if path.suffix not in WRITERS:
        raise HardcastError(f"{path}: -o writes {', '.join(WRITERS)}; name one of these")
    if path.is_dir() or not path.parent.is_dir():
        raise HardcastError(f"{path}: name a file in a folder that is there")
    check_file(path)
    if path.exists() and not force:
        raise HardcastError(f"{path} is there: name another file, or --force replaces it")
    if path.suffix in (".svg", ".html"):
        require()


def write(path: Path, explored: Explored) -> None:
    """Writes what the file's name ends in, whole or not at all."""
    save(path, WRITERS[path.suffix](explored))


def _csv(explored: Explored) -> str:
    front = {result.point for result in explored.answer.front}
    feasible = [result for result in explored.results if not result.reason]
    names = list(feasible[0].parameters) if feasible else []
    figures = list(feasible[0].figures) if feasible else []
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["point", *names, *figures, "front", "reason"])
    for r in explored.results:
        values: list[Any] = [r.parameters.get(name, "") for name in names]
        values += [r.figures.get(name, "") for name in figures]
        table.writerow([r.point, *values, int(r.point in front), r.reason])
    return text.getvalue()


def _json(explored: Explored) -> str:
    front = [result.point for result in explored.answer.front]
    every = [entry(result) for result in explored.results]
    return json.dumps({**explored.summary, "front": front, "results": every}) + "\n"


def _svg(explored: Explored) -> str:
    svg = str(_plots(explored)[0].svg)
    return svg.replace("<svg ", f'<svg font-family="{FONT}" ', 1) + "\n"


def _html(explored: Explored) -> str:
    header, rows = explored.rows
    lines = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    figures = [
        f"<figure>{plot.svg}<figcaption>{escape(plot.caption)}</figcaption></figure>"
        for plot in _plots(explored)
    ]
    title, count = escape(explored.title), len(explored.answer.front)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="Hardcast {__version__}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p>{explored.answer.points:,} points, {explored.answer.feasible:,} of them chips,
{explored.answer.within:,} within the limits; no other beats the {count:,} of the front in
{escape(", ".join(explored.objectives))}.</p>
{"".join(figures)}
<div tabindex="0" role="region" aria-label="The front"><table>
<thead><tr>{"".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)}</tr></thead>
<tbody>{"".join(lines)}</tbody>
</table></div>
</body>
</html>
"""


WRITERS: dict[str, Callable[[Explored], str]] = {
    ".csv": _csv,
    ".json": _json,
    ".svg": _svg,
    ".html": _html,
}


def _plots(explored: Explored) -> list[Plot]:
    """The first objective against each of the others, or against the area if it is alone."""
    first, *others = explored.objectives
    if not explored.answer.front:
        raise HardcastError("no point is on the front: there is nothing to draw")
    if not others:
        others = ["area_mm2" if first != "area_mm2" else "tokens_s_user"]
    return [_plot(explored, other, first) for other in others]


def _plot(explored: Explored, x: str, y: str) -> Plot:
    front = {result.point for result in explored.answer.front}
    rest = [r for r in explored.results if not r.reason and r.point not in front]
    rest = rest[:: max(-(-len(rest) // MOST_GREY), 1)]

    def axis(name: str) -> dict[str, Any]:
        quantity = QUANTITIES[name]
        title = f"{quantity.title}, {quantity.unit}" if quantity.unit else quantity.title
        return {
            "field": name,
            "type": "quantitative",
            "scale": {"type": "log", "nice": False, "padding": 8},
            "title": f"{title} ({'more' if quantity.way == UP else 'less'} is better)",
            "axis": {"tickCount": 5, "format": ",~r", "grid": False},
        }

    def layer(results: Sequence[Result], colour: str, size: int) -> dict[str, Any]:
        values = [{name: r.figures[name] for name in (x, y)} for r in results]
        mark = {"type": "point", "filled": True, "color": colour, "size": size, "opacity": 1}
        return {
            "data": {"values": values},
            "mark": {**mark, "aria": False},
            "encoding": {"x": axis(x), "y": axis(y)},
        }

    spec = Spec({"layer": [layer(rest, TONE3, 4), layer(explored.answer.front, ACCENT, 22)]})
    name = f"{y}-{x}".replace("_", "-")
    titles = QUANTITIES[y].title, QUANTITIES[x].title
    caption = f"{titles[0]} against {titles[1]}; blue: the front, grey: chips that others beat."
    best = max(explored.answer.front, key=lambda r: QUANTITIES[y].way * r.figures[y])
    label = (
        f"{len(explored.answer.front)} chips of the front by {titles[0]} and {titles[1]}; the best "
        f"has {best.figures[y]:,.4g} and {best.figures[x]:,.4g}."
    )
    header, rows = explored.rows
    return draw(name, caption, label, spec, Table(header, rows))
