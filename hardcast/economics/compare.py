"""Our chip beside everything else that runs the model: speed, power, price, cost of tokens.

    rows = compare("llama-3.1-8b", [chip_of_one_user, chip_of_four_users], assumptions)

One user's tokens/s and those of a device at full load stand apart: by the first a hardwired die
beats a GPU a hundredfold, by the second one die is about one GPU. Every cell says where it is from.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardcast.economics import cells
from hardcast.economics.cells import HERE, Band, Cell, number
from hardcast.economics.rival_cells import rival_cells
from hardcast.economics.rivals import get_rival, rival_names
from hardcast.economics.roofline import LENGTHS
from hardcast.errors import HardcastError
from hardcast.models.shapes import NamedShape, get_shape, shape_names
from hardcast.technology.assumptions import Assumptions

REFERENCE = "h100"  # whom the multipliers are against
COLUMNS = {
    "tokens_s_user": "one user, tokens/s",
    "times_user": "times H100",
    "tokens_s_device": "a device at full load, tokens/s",
    "times_device": "times H100",
    "devices": "devices",
    "area_mm2": "silicon, mm2",
    "tokens_s_system": "together, tokens/s",
    "power_w": "power, W",
    "mj_per_token": "mJ a token",
    "price_usd": "price, USD",
    "usd_per_million_tokens": "USD a million tokens",
    "cooling": "cooling",
    "infrastructure": "infrastructure",
}


@dataclass(frozen=True)
class ChipFigures:
    """A chip of ours, as compared: each Band is (low, point, high).

    name: what the row is called. node: its process. dies: of the system. users: that one ROM read
    serves. area_mm2: of all dies. power_w: at the servers' inlets. tokens_s_user: of one user;
    tokens_s_die: of all users, over the dies. mj_per_token: power_w over all tokens. price_usd:
    of the system to a buyer. unit_usd: what making it costs. nre_usd: design and masks, paid once.
    usd_per_million_tokens: to an operator who has `systems` of them made, with their share of nre.
    """

    name: str
    node: str
    dies: int
    users: int
    area_mm2: Band
    power_w: Band
    tokens_s_user: Band
    tokens_s_die: Band
    mj_per_token: Band
    price_usd: Band
    unit_usd: Band
    nre_usd: Band
    usd_per_million_tokens: Band
    systems: int
    cooling: str = "air"
    infrastructure: str = "cards in a server"
    source: str = "hardcast chip: its model on this node"


@dataclass(frozen=True)
class Row:
    """One machine. kind: "chip" for ours, else what holds a rival's weights: hbm, sram, rom."""

    name: str
    title: str
    kind: str
    cells: Mapping[str, Cell]

    def to_json(self) -> dict[str, Any]:
        """Name, title, kind and the cells by column."""
        found = {name: cell.to_json() for name, cell in self.cells.items()}
        return {"name": self.name, "title": self.title, "kind": self.kind, "cells": found}


def compare(
    shape_name: str,
    chips: Sequence[ChipFigures],
    assumptions: Assumptions,
    utilisation: float | None = None,
    lengths: tuple[int, int] = LENGTHS,
) -> list[Row]:
    """Rows for our chips, in their order, then for every rival, the fastest for one user first.

    assumptions: cost_figures(), alone or joined with a node's, for the rivals' costs. utilisation:
    of each rival's own full load; cost.utilisation without. lengths: tokens in and out of a user
    at full load.
    Raises HardcastError for an unknown shape, with the nearest name, and as serving_cost does.
    """
    shape = _shape(shape_name)
    rows = [_chip_row(chip) for chip in chips]
    rivals = []
    for rival in map(get_rival, rival_names()):
        found = rival_cells(rival, shape, assumptions, utilisation, lengths)
        made = rival.texts["status"] in ("sold", "service")
        title = rival.title if made else f"{rival.title} ({rival.texts['status']})"
        rivals.append(Row(rival.name, title, rival.texts["memory"], found))
    rivals.sort(key=lambda row: -(row.cells["tokens_s_user"].value or 0))
    reference = next(row for row in rivals if row.name == REFERENCE)
    return [_with_multipliers(row, reference) for row in (*rows, *rivals)]


def truths(rows: Sequence[Row]) -> list[str]:
    """For each hardwired machine, both multipliers in a sentence: neither says it all alone."""
    found = []
    for row in rows:
        user, device = row.cells["times_user"], row.cells["times_device"]
        if row.kind in ("chip", "rom") and user.value is not None and device.value is not None:
            found.append(
                f"{row.title}: {number(user.value)} times an H100 for one user{_ends(user)}; a die "
                f"gives {number(device.value)} times the tokens of an H100 at full load"
                f"{_ends(device)}."
            )
    return found


def _ends(cell: Cell) -> str:
    if cell.low is None or cell.high is None or cell.low == cell.high:
        return ""
    return f" ({number(cell.low)} to {number(cell.high)})"


def _shape(name: str) -> NamedShape:
    if name not in shape_names():
        near = difflib.get_close_matches(name, shape_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "hardcast models lists them"
        raise HardcastError(f"no shape named {name!r}; {hint}")
    return get_shape(name)


def _with_multipliers(row: Row, reference: Row) -> Row:
    found = dict(row.cells)
    for column, of in (("times_user", "tokens_s_user"), ("times_device", "tokens_s_device")):
        note = f"{COLUMNS[of]} over the H100's"
        if row is reference:
            found[column] = cells.of_band((1.0, 1.0, 1.0), "ratio", "derived", HERE, note)
        else:
            found[column] = cells.quotient(row.cells[of], reference.cells[of], "ratio", HERE, note)
    return Row(row.name, row.title, row.kind, {name: found[name] for name in COLUMNS})


def _chip_row(chip: ChipFigures) -> Row:
    def cell(band: Band, unit: str, note: str = "") -> Cell:
        return cells.of_band(band, unit, "derived", chip.source, note)

    low, point, high = chip.tokens_s_die
    system = (low * chip.dies, point * chip.dies, high * chip.dies)
    part = f"made for {number(chip.unit_usd[1])}; {number(chip.nre_usd[1])} paid once before"
    shared = f"made for its operator, {chip.systems:,} systems share {number(chip.nre_usd[1])} USD"
    found = {
        "tokens_s_user": cell(chip.tokens_s_user, "tokens/s"),
        "tokens_s_device": cell(chip.tokens_s_die, "tokens/s", _users(chip.users)),
        "devices": cell((chip.dies,) * 3, "devices", f"dies on {chip.node}"),
        "area_mm2": cell(chip.area_mm2, "mm2", "of all dies"),
        "tokens_s_system": cell(system, "tokens/s", _users(chip.users)),
        "power_w": cell(chip.power_w, "W", "of the system, at the wall"),
        "mj_per_token": cell(chip.mj_per_token, "mJ", "at the wall"),
        "price_usd": cell(chip.price_usd, "USD", part),
        "usd_per_million_tokens": cell(chip.usd_per_million_tokens, "USD", shared),
        "cooling": cells.of_text(chip.cooling, chip.source),
        "infrastructure": cells.of_text(chip.infrastructure, chip.source),
    }
    return Row(chip.name, chip.name, "chip", found)


def _users(users: int) -> str:
    return f"{users} user{'s' if users > 1 else ''} a ROM read"
