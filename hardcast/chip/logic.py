"""Cells of the chip's blocks, scaled from what synthesis measured to the counts that a chip has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hardcast.chip.measured import Measurement, measured, measurements
from hardcast.errors import HardcastError

TILE_RECIPES = {2: "ternary", 3: "3/6", 4: "4gptq"}  # whose codebooks a tile of so many bits knows
OFFSET_RECIPE = "4bit"  # tiles whose words have offsets


@dataclass(frozen=True)
class Cells:
    """Cells of one kind. Energies are of a cycle in which they work, wires at the pins included.

    area_um2: of cells. cycle_fj: dynamic energy; clock_fj: of it, clock pins, which also toggle
    when the cells do nothing and their clock is not gated.
    """

    area_um2: float
    cycle_fj: float
    clock_fj: float

    def __mul__(self, count: float) -> Cells:
        return Cells(self.area_um2 * count, self.cycle_fj * count, self.clock_fj * count)

    def __add__(self, other: Cells) -> Cells:
        return Cells(
            self.area_um2 + other.area_um2,
            self.cycle_fj + other.cycle_fj,
            self.clock_fj + other.clock_fj,
        )


@cache
def block(library: str, name: str) -> Cells:
    """The cells of a block as measured with a library."""
    return _cells(_measured(library, name))


@cache
def per_lane(library: str, name: str) -> Cells:
    """The cells of a block over the lanes that it was measured with."""
    found = _measured(library, name)
    return _cells(found) * (1 / found.options["lanes"])


@cache
def tile(library: str, bits: int, columns: int, users: int, offsets: bool) -> Cells:
    """A tile for `users` users. Between measured numbers of users, along the line.

    Raises HardcastError for columns that no tile of any width was measured with.
    """
    recipe = OFFSET_RECIPE if offsets else TILE_RECIPES[bits]
    of_users = {
        int(m.options["users"]): _cells(m)
        for m in measurements(library)
        if m.block == "tile"
        and m.options["bits"] == bits
        and m.options["recipe"] == recipe
        and m.options["columns"] == 8
    }
    if not of_users:
        raise HardcastError(f"{library}: no tile of {bits} bits was measured; hardcast synth does")
    cells, factor = _at_users(of_users, users), _column_factor(columns)
    return Cells(
        cells.area_um2 * factor.area_um2,
        cells.cycle_fj * factor.cycle_fj,
        cells.clock_fj * factor.clock_fj,
    )


def _column_factor(columns: int) -> Cells:
    """What a tile of other than 8 columns is, over one of 8; ASAP7, 3 bits, for all."""
    widths = {
        int(m.options["columns"]): _cells(m)
        for m in measurements("asap7")
        if m.block == "tile" and m.options["recipe"] == "3/6" and m.options["users"] == 1
    }
    if columns not in widths:
        known = ", ".join(map(str, sorted(widths)))
        raise HardcastError(
            f"no tile of {columns} columns was measured; there are: {known} (hardcast synth)"
        )
    made, usual = widths[columns], widths[8]
    return Cells(
        made.area_um2 / usual.area_um2,
        made.cycle_fj / usual.cycle_fj,
        made.clock_fj / usual.clock_fj,
    )


def _at_users(of_users: dict[int, Cells], users: int) -> Cells:
    """Between and beyond the measured numbers of users; beyond one alone, each costs the first."""
    known = sorted(of_users)
    if users in of_users:
        return of_users[users]
    if len(known) == 1:
        return of_users[known[0]] * (users / known[0])
    above = next((i for i, n in enumerate(known) if n > users), len(known) - 1)
    low, high = known[max(above - 1, 0)], known[max(above, 1)]
    part = (users - low) / (high - low)
    return of_users[low] * (1 - part) + of_users[high] * part


@cache
def slowest_path_ps(library: str, bits: int, offsets: bool) -> float:
    """The longest path of all blocks of such a chip, typical, without wires, in ps.

    Of its tiles, those of every number of columns and users: their paths differ by a tenth.
    """
    recipe = OFFSET_RECIPE if offsets else TILE_RECIPES[bits]
    paths = [
        m["critical_path_ps"]
        for m in measurements(library)
        if m.block != "tile" or (m.options["bits"], m.options["recipe"]) == (bits, recipe)
    ]
    return max(paths)


@cache
def flip_flop(library: str) -> Cells:
    """One flip-flop of a pipeline: a tile's own, area and energy over their number."""
    found = measured(library, "tile", bits=3, columns=8, users=1, recipe="3/6")
    count = found["flip_flops"]
    clock = found["energy_clock_fj"]
    energy = clock + found["energy_flip_flops_fj"]
    return Cells(found["flip_flop_area_um2"], energy, clock) * (1 / count)


@cache
def _measured(library: str, name: str) -> Measurement:
    return measured(library, name)


def _cells(found: Measurement) -> Cells:
    dynamic = sum(found[f"energy_{part}_fj"] for part in ("logic", "flip_flops", "clock"))
    wires = found["energy_wired_fj_per_op"] / found["energy_fj_per_op"]
    return Cells(found["area_um2"], dynamic * wires, found["energy_clock_fj"])
