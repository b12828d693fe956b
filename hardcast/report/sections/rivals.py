"""This chip beside everything else that runs the model; every cell has its kind and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardcast.economics.cells import FACT, NONE, Cell
from hardcast.economics.compare import COLUMNS, truths
from hardcast.report.form import number, unit
from hardcast.report.study import Study

SPEED = (
    "tokens_s_user",
    "times_user",
    "tokens_s_device",
    "times_device",
    "devices",
    "tokens_s_system",
)
COST = ("area_mm2", "power_w", "mj_per_token", "price_usd", "usd_per_million_tokens", "cooling")


@dataclass(frozen=True)
class Entry:
    """A cell in print. note: its footnote's number, 0 for none. band: "" or "low to high"."""

    text: str
    band: str
    note: int
    tip: str


def section(study: Study) -> dict[str, Any]:
    """Two tables of the same machines, the footnotes of both, and a sentence for each ROM."""
    rows, notes = study.rows, Notes()
    tables = [
        {
            "caption": caption,
            "header": [unit(COLUMNS[name]) for name in columns],
            "rows": [
                (row.title, row.kind == "chip", [notes.entry(row.cells[name]) for name in columns])
                for row in rows
            ],
        }
        for caption, columns in (
            ("Speed: of one user, and of a device whose users fill it.", SPEED),
            ("Silicon, power and price of the devices that the model takes.", COST),
        )
    ]
    return {
        "tables": tables if rows else [],
        "notes": notes.lines,
        "truths": [text[:1].upper() + text[1:] for text in truths(rows)] if rows else [],
        "infrastructure": [(row.title, row.cells["infrastructure"].text) for row in rows],
        "shape": study.shape_name,
    }


class Notes:
    """Footnotes in order of first use; equal ones are one."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str, str], int] = {}

    @property
    def lines(self) -> list[tuple[int, str, str, str]]:
        """Number, kind, source, note."""
        return [(place, *key) for key, place in self._places.items()]

    def entry(self, cell: Cell) -> Entry:
        """A cell with the number of its footnote; words have none."""
        if cell.kind == FACT:
            return Entry(cell.text, "", 0, cell.source)
        key = (cell.kind, cell.source, cell.note)
        place = self._places.setdefault(key, len(self._places) + 1)
        tip = f"{cell.kind}: {cell.source}" + (f" ({cell.note})" if cell.note else "")
        if cell.kind == NONE or cell.value is None:
            return Entry("–", "", place, tip)
        if cell.unit == "devices":
            return Entry(f"{cell.value:,.0f}", "", place, tip)
        band = ""
        if cell.low is not None and cell.high is not None and cell.low != cell.high:
            band = f"{number(cell.low)}–{number(cell.high)}"
        return Entry(number(cell.value), band, place, tip)
