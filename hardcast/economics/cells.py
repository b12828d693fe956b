"""A cell of a comparison: a value with its band, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardcast.technology.figure import Figure

NONE = "none"  # kind of a cell that has no value
FACT = "fact"  # kind of a cell of text
HERE = "this comparison"  # source of what is derived from cells beside it

Band = tuple[float, float, float]  # low, point, high


@dataclass(frozen=True)
class Cell:
    """One entry. kind: as a Figure's, or NONE, or FACT. note: how, or why there is no value.

    value, low, high: None where nothing is known. text: of what is no number.
    """

    unit: str
    kind: str
    source: str
    note: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is, without what is empty; value is always there."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v for k, v in found.items() if v not in (None, "") or k == "value"}


def of_figure(figure: Figure) -> Cell:
    """A figure that is no curve, as it stands."""
    return Cell(
        figure.unit,
        figure.kind,
        figure.source,
        figure.note,
        figure.value[0],
        figure.low[0],
        figure.high[0],
    )


def of_band(band: Band, unit: str, kind: str, source: str, note: str = "") -> Cell:
    """From (low, point, high)."""
    low, value, high = band
    return Cell(unit, kind, source, note, value, low, high)


def of_text(text: str, source: str) -> Cell:
    """Words."""
    return Cell("", FACT, source, text=text)


def none(unit: str, source: str, why: str) -> Cell:
    """No value, and why."""
    return Cell(unit, NONE, source, why)


def quotient(one: Cell, other: Cell, unit: str, source: str, note: str) -> Cell:
    """one / other, from end to end of both bands; no value if either has none."""
    if one.value is None or one.low is None or one.high is None:
        return none(unit, one.source, one.note)
    if other.value is None or other.low is None or other.high is None:
        return none(unit, other.source, other.note)
    band = (one.low / other.high, one.value / other.value, one.high / other.low)
    return of_band(band, unit, "derived", source, note)


def times(cell: Cell, factor: float, note: str, unit: str = "") -> Cell:
    """The cell by a factor, in another unit if one is given: derived, or still an estimate.

    Unchanged by a factor of 1 and where it has no value.
    """
    if factor == 1 or cell.value is None or cell.low is None or cell.high is None:
        return cell
    band = (cell.low * factor, cell.value * factor, cell.high * factor)
    kind = cell.kind if cell.kind == "estimated" else "derived"
    return of_band(band, unit or cell.unit, kind, cell.source, note)


def number(value: float) -> str:
    """For people: three digits, or whole with commas."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
