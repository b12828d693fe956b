"""A space of designs: lists of values, one an axis; a point of it takes one value of each.

    standard_space(subject.program.shape, preset, ["n6"], ["3/6"])
    read_space(Path("mine.toml"), standard)        # lists of the user's own in place of some

Points are numbered as an odometer counts, the last axis fastest: a number is all that has to be
sent to a worker or written down.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardcast.chip.geometry import ceil_div
from hardcast.chip.parameters import BLOCK, MOST_TILE_ROWS, Chip, Preset
from hardcast.errors import HardcastError
from hardcast.files import check_file
from hardcast.program.program import Shape

Value = int | str
AUTO = "auto"
FIT = "fit"
AXES = {
    "recipe": "whose codes the weights have",
    "node": "process",
    "dies": f'"{FIT}" to the reticle, or "SxP": S stages of P pieces each',
    "context": "positions of the KV memory",
    "lora_rank": "of adapters held in SRAM",
    "columns": "inputs a lane multiplies a cycle",
    "tile_rows": "rows of tiles, and lanes of the spine",
    "slices": "columns of tiles",
    "users": "tokens that one ROM read serves",
    "positions": "KV positions that attention reads a cycle",
    "sampler_lanes": "logits a cycle that get noise",
    "broadcast_stages": f'registers on the way to the tiles, "{AUTO}": as many as the die needs',
    "gather_stages": f'registers on the way back, "{AUTO}" too',
}
"""Every axis, in the order in which points count, and what its values are."""

STAGES = ("broadcast_stages", "gather_stages")
MOST_POINTS = 1_000_000  # of a search: all results are in memory, some 2 kB each
DIES = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})")


@dataclass(frozen=True)
class Space:
    """Lists of values by axis, every axis of AXES once. HardcastError for what is no value."""

    lists: Mapping[str, tuple[Value, ...]]

    def __post_init__(self) -> None:
        for axis, values in self.lists.items():
            check_values(axis, values)

    @property
    def size(self) -> int:
        """Points."""
        return math.prod(len(values) for values in self.lists.values())

    def point(self, number: int) -> dict[str, Value]:
        """The values of point `number`, 0 to size - 1."""
        found: dict[str, Value] = {}
        for axis in reversed(AXES):
            number, place = divmod(number, len(self.lists[axis]))
            found[axis] = self.lists[axis][place]
        return {axis: found[axis] for axis in AXES}

    def numbers(self, points: int | None, seed: int) -> Sequence[int]:
        """The points to look at, ascending: all, or `points` of them drawn without repeats.

        Raises HardcastError for more than a search holds.
        """
        if min(points or self.size, self.size) > MOST_POINTS:
            raise HardcastError(
                f"{points or self.size:,} points are more than {MOST_POINTS:,}: --points N draws N"
            )
        if points is None or points >= self.size:
            return range(self.size)
        return sorted(random.Random(seed).sample(range(self.size), points))


def check_values(axis: str, values: Sequence[Value]) -> None:
    """Raises HardcastError for an empty list, a value twice, and what no chip can have.

    Recipes and nodes are checked where they are opened.
    """
    if not values:
        raise HardcastError(f"{axis}: an empty list; give one value at least")
    if twice := [value for value in values if list(values).count(value) > 1]:
        raise HardcastError(f"{axis}: {twice[0]!r} stands twice")
    for value in values:
        if axis in ("recipe", "node"):
            if not isinstance(value, str):
                raise HardcastError(f"{axis}: {value!r:.40} is no name")
        elif axis == "dies":
            divided(value)
        elif axis == "lora_rank":
            if type(value) is not int or not 0 <= value <= 4096:
                raise HardcastError(f"lora_rank: {value!r:.40}, must be 0..4096")
        elif not (axis in STAGES and value == AUTO):
            changes: dict[str, Any] = {axis: value}
            dataclasses.replace(Chip("of the space"), **changes).check()


def divided(value: Value) -> tuple[int, int] | None:
    """Stages and pieces that a value of `dies` means; None: as the reticle asks.

    Raises HardcastError for another value.
    """
    if value == FIT:
        return None
    found = DIES.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise HardcastError(f'dies: {value!r:.40}, expected "{FIT}" or stages x pieces as "2x1"')
    return int(found[1]), int(found[2])


def standard_space(
    shape: Shape, preset: Preset, nodes: Sequence[str], recipes: Sequence[str], fewest: int = 1
) -> Space:
    """The space around a preset: every mix of the lists below, ten to twenty thousand points.

    slices: so many that a row of hidden_size or intermediate_size takes whole passes, 1 to 8.
    dies: as the reticle asks, and twice and four times the `fewest` that the preset needs.
    """
    chip = preset.chip
    rows = _around(chip.tile_rows, 2, 1, MOST_TILE_ROWS)
    lists: dict[str, Sequence[Value]] = {
        "dies": _dies(shape.num_hidden_layers, fewest, (2, 4), (2,)),
        "columns": (4, 8, 16),  # widths of tiles that were measured
        "tile_rows": rows,
        "slices": _slices(shape, (1, 2, 3, 4, 6, 8), rows[-1]),
        "users": (1, 2, 4, 8),
        "positions": _around(chip.positions, 2, 2, chip.context),
    }
    return _space(chip, lists, nodes, recipes)


def wide_space(
    shape: Shape, preset: Preset, nodes: Sequence[str], recipes: Sequence[str], fewest: int = 1
) -> Space:
    """What --points draws from: more values on every axis, and stages that are not matched too."""
    chip = preset.chip
    rows = _around(chip.tile_rows, 4, 3, MOST_TILE_ROWS)
    lists: dict[str, Sequence[Value]] = {
        "dies": _dies(shape.num_hidden_layers, fewest, (1, 2, 3, 4, 6), (1, 2, 3, 4)),
        "columns": (4, 8, 16),
        "tile_rows": rows,
        "slices": _slices(shape, range(1, 13), rows[-1]),
        "users": (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16),
        "positions": _around(chip.positions, 4, 3, chip.context),
        "broadcast_stages": (AUTO, 0, 2, 4, 8),
        "gather_stages": (AUTO, 0, 2, 4),
    }
    return _space(chip, lists, nodes, recipes)


def _space(
    chip: Chip, lists: Mapping[str, Sequence[Value]], nodes: Sequence[str], recipes: Sequence[str]
) -> Space:
    given: dict[str, Sequence[Value]] = {
        "recipe": recipes,
        "node": nodes,
        "context": (chip.context,),
        "lora_rank": (0,),
        "sampler_lanes": (chip.sampler_lanes,),
        "broadcast_stages": (AUTO,),
        "gather_stages": (AUTO,),
        **lists,
    }
    return Space({axis: tuple(given[axis]) for axis in AXES})


def _around(value: int, below: int, above: int, most: int) -> list[int]:
    """Powers of two: `value`, so many below it and above it, at least 1 and at most `most`."""
    every = [value << i for i in range(-below, above + 1) if i >= 0]
    every += [value >> i for i in range(1, below + 1)]
    return sorted({v for v in every if 1 <= v <= most})


def _slices(shape: Shape, passes: Sequence[int], rows: int) -> list[int]:
    """Slices of so many passes; each also rounded up to what `rows` lanes divide into blocks."""
    step = max(rows // BLOCK, 1)
    found = set()
    for width in (shape.hidden_size, shape.intermediate_size):
        for count in passes:
            slices = ceil_div(ceil_div(width, BLOCK), count)
            found |= {slices, ceil_div(slices, step) * step}
    return sorted(found)


def _dies(
    layers: int, fewest: int, in_a_row: Sequence[int], side_by_side: Sequence[int]
) -> list[str]:
    """FIT, and so many times the fewest dies as stages (as far as there are layers) or pieces."""
    found = [FIT]
    for factor in in_a_row:
        stages = min(fewest * factor, layers)
        found.append(f"{stages}x{ceil_div(fewest * factor, stages)}")
    found += [f"1x{fewest * factor}" for factor in side_by_side]
    return list(dict.fromkeys(found))


def read_space(path: Path, standard: Space) -> Space:
    """The space of a TOML file: lists by axis; an axis that it leaves out is as in `standard`.

    Raises HardcastError that begins with the file for what is no TOML, for an unknown axis (with
    the nearest) and for values that no chip can have.
    """
    check_file(path)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise HardcastError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise HardcastError(f"{path}: cannot be read as TOML ({error!s:.120})") from None
    lists = dict(standard.lists)
    for axis, values in data.items():
        if axis not in AXES:
            near = difflib.get_close_matches(axis, AXES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise HardcastError(f"{path}: no axis {axis!r:.40}; {hint}there are: {', '.join(AXES)}")
        lists[axis] = tuple(values) if isinstance(values, list) else (values,)
    try:
        return Space(lists)
    except HardcastError as error:
        raise HardcastError(f"{path}: {error}") from None
