"""A chip's parameters: everything that makes one chip unlike another, and the packaged presets."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from hardcast.errors import HardcastError

BLOCK = 64  # inputs that share an activation exponent; a tile multiplies as many weights a cycle
MOST_TILE_ROWS = 256  # the sampler's limit
MOST_STAGES = 64


@dataclass(frozen=True)
class Chip:
    """Parameters of the microarchitecture (docs/chip.md). All are counts.

    bits: B, of a code in one plane; 2, 3 or 4. columns: K, inputs a lane multiplies a cycle; a tile
    has 64 / K rows. slices: C, columns of tiles. tile_rows: TR, also the spine's lanes.
    users: U, tokens that one ROM read serves. positions: P, KV positions attention reads a cycle.
    broadcast_stages, gather_stages: registers for distance alone. context: positions of the KV
    memory. sampler_lanes: logits a cycle that get noise.
    """

    name: str
    bits: int = 4
    columns: int = 8
    slices: int = 1
    tile_rows: int = 1
    users: int = 1
    positions: int = 1
    broadcast_stages: int = 0
    gather_stages: int = 0
    context: int = 512
    sampler_lanes: int = 4

    @property
    def rows(self) -> int:
        """R, rows of a tile: a group of 64 inputs takes as many cycles, and so does their drain."""
        return BLOCK // self.columns

    @property
    def round_rows(self) -> int:
        """Q, rows of a matrix that all tiles sweep together."""
        return self.rows * self.tile_rows

    def check(self) -> None:
        """Raises HardcastError for parameters that no chip can have."""
        ranges: dict[str, tuple[int, ...] | range] = {
            "bits": (2, 3, 4),
            "columns": (1, 2, 4, 8, 16, 32),
            "slices": range(1, 4097),
            "tile_rows": powers(MOST_TILE_ROWS),
            "users": range(1, 65),
            "positions": powers(1024),
            "broadcast_stages": range(MOST_STAGES + 1),
            "gather_stages": range(MOST_STAGES + 1),
            "context": range(1, (1 << 20) + 1),
            "sampler_lanes": powers(MOST_TILE_ROWS),
        }
        for name, allowed in ranges.items():
            value = getattr(self, name)
            if type(value) is not int or value not in allowed:
                said = (
                    f"{allowed[0]}..{allowed[-1]}"
                    if isinstance(allowed, range)
                    else ", ".join(map(str, allowed))
                )
                raise HardcastError(f"chip {self.name}: {name} is {value!r}, must be {said}")

    def to_json(self) -> dict[str, Any]:
        """Name to value, as in a preset's file."""
        return asdict(self)


def powers(most: int) -> tuple[int, ...]:
    """1, 2, 4 ... up to `most`."""
    return tuple(1 << i for i in range(most.bit_length()))


@dataclass(frozen=True)
class Preset:
    """A packaged chip. recipe: what its lanes are made for, used where a shape has no image.

    suits: least and largest hidden_size that it is taken for where none is named.
    clock_ghz: the clock that it was designed for; clock_source: where that figure comes from.
    """

    chip: Chip
    summary: str
    recipe: str
    suits: tuple[int, int]
    clock_ghz: float
    clock_source: str


def preset_names() -> list[str]:
    """The packaged presets."""
    files = resources.files(__package__).joinpath("presets").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))


def get_preset(name: str) -> Preset:
    """The preset called `name`. Raises HardcastError listing the known ones."""
    if name not in preset_names():
        raise HardcastError(f"no chip preset {name!r}; there are: {', '.join(preset_names())}")
    file = resources.files(__package__).joinpath("presets", f"{name}.toml")
    data = tomllib.loads(file.read_text("utf-8"))
    clock = data["clock"]
    chip = Chip(name, **data["chip"])
    chip.check()
    suits = tuple(data.get("suits_hidden_size", (1, 0)))  # none
    return Preset(chip, data["summary"], data["recipe"], suits, clock["value"], clock["source"])
