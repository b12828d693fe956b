"""A plot: Vega-Lite's picture as plain SVG, with caption, description and the numbers behind it.

The picture is drawn here and needs no script on the page. Colours are the page's: style.css gives
every colour of PALETTE its value on light, dark and paper.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from hardcast.errors import HardcastError

VEGA_LITE = "5.20"
WIDTH, HEIGHT = 420, 240  # of a picture, CSS pixels; the page scales it
FONT_SIZE = 12
SVG = "http://www.w3.org/2000/svg"
MARKS = {"point", "bar", "rect mark", "bar mark", "point mark", "rect", "line mark", "text mark"}
# Where more than two decimals are nothing but size.
GEOMETRY = {"d", "transform", "x", "y", "x1", "x2", "y1", "y2", "width", "height"}
LONG = re.compile(r"-?\d+\.\d{3,}")

# Name: what it stands for on light paper. style.css turns each into a variable.
PALETTE = {
    "ink": "#1b2733",
    "second": "#55606c",
    "line": "#d8dde2",
    "accent": "#15569c",
    "band": "#c7daee",
    "tone2": "#5f93cb",
    "tone3": "#9aa7b4",
    "tone4": "#cfd6dd",
}
INK, SECOND, LINE, ACCENT, BAND, TONE2, TONE3, TONE4 = PALETTE.values()
TONES = (ACCENT, TONE2, TONE3, TONE4)


@dataclass(frozen=True)
class Table:
    """Rows for people; every column but the first is of numbers unless `texts` names it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class Plot:
    """A figure of the page. name: unique on it. label: what somebody who cannot see it needs."""

    name: str
    caption: str
    label: str
    svg: Markup
    table: Table


@dataclass(frozen=True)
class Spec:
    """A Vega-Lite view without what all plots share. config: beyond the common."""

    view: dict[str, Any]
    height: int = HEIGHT
    config: dict[str, Any] = field(default_factory=dict)


def draw(name: str, caption: str, label: str, spec: Spec, table: Table) -> Plot:
    """Draws a specification. Raises HardcastError where the extra that draws is not installed."""
    return Plot(name, caption, label, plain(_vega(spec), name, label), table)


def require() -> Any:
    """The module that draws. Raises HardcastError that says how to install it."""
    try:
        import vl_convert
    except ImportError:
        raise HardcastError(
            "report: its plots need vl-convert-python; pip install 'hardcast[report]'"
        ) from None
    return vl_convert


def _vega(spec: Spec) -> str:
    axis = {
        "labelColor": SECOND,
        "titleColor": SECOND,
        "labelFontSize": FONT_SIZE,
        "titleFontSize": FONT_SIZE,
        "titleFontWeight": "normal",
        "gridColor": LINE,
        "domainColor": SECOND,
        "tickColor": SECOND,
        "titlePadding": 8,
    }
    config = {
        "font": "Liberation Sans, Arial, sans-serif",
        "background": None,
        "axis": axis,
        "legend": {
            "labelColor": INK,
            "labelFontSize": FONT_SIZE,
            "title": None,
            "orient": "top",
            "symbolType": "square",
        },
        "view": {"stroke": None},
        **spec.config,
    }
    whole = {
        "$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE}.json",
        "width": WIDTH,
        "height": spec.height,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": 4,
        "config": config,
        **spec.view,
    }
    svg: str = require().vegalite_to_svg(json.dumps(whole), vl_version=VEGA_LITE)
    return svg


def plain(svg: str, name: str, label: str) -> Markup:
    """Vega's SVG as one labelled picture: no roles within, identifiers of its own, no fonts.

    What Vega says of a mark for hovering is kept in data-tip; script.js shows it.
    """
    ET.register_namespace("", SVG)
    root = ET.fromstring(svg)
    for element in root.iter():
        kind = element.attrib.pop("aria-roledescription", "")
        said = element.attrib.pop("aria-label", "")
        for attribute in ("role", "aria-hidden", "font-family", "class"):
            element.attrib.pop(attribute, None)
        if said and kind in MARKS:
            element.set("data-tip", said)
        if "id" in element.attrib:
            element.set("id", f"{name}-{element.attrib['id']}")
        for attribute, value in element.attrib.items():
            if attribute in GEOMETRY:
                element.set(attribute, LONG.sub(lambda m: f"{float(m[0]):.2f}", value))
            elif "url(#" in value:
                element.set(attribute, value.replace("url(#", f"url(#{name}-"))
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("class", "plot")
    return Markup(ET.tostring(root, encoding="unicode"))
