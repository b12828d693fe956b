"""What synthesis measured of the chip's blocks: measured/<library>.toml, written by `synth --save`.

Areas are of cells without the space between them, times without wires unless a name says wired.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError
from hardcast.files import check_above, check_file

FOLDER = "measured"
HEADER = "# Written by `hardcast synth --save`: do not edit. The names: docs/synthesis.md.\n"


@dataclass(frozen=True)
class Quantity:
    """A figure with its unit."""

    value: float
    unit: str


@dataclass(frozen=True)
class Measurement:
    """One block as one library makes it. options: name to value, all that shape the block.

    kind: how the figures came about. source: with what, and when. limit: registers between which
    the longest path lies.
    """

    block: str
    options: Mapping[str, Any]
    kind: str
    source: str
    limit: str
    quantities: Mapping[str, Quantity]

    def __getitem__(self, name: str) -> float:
        """The value of a quantity."""
        return self.quantities[name].value


def libraries() -> list[str]:
    """Names of the libraries that something was measured with."""
    folder = resources.files(__package__).joinpath(FOLDER)
    found = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    return sorted(name[:-5] for name in found if name.endswith(".toml"))


@cache
def measurements(library: str) -> list[Measurement]:
    """All that was measured with a library. Raises HardcastError naming those there are."""
    if library not in libraries():
        raise HardcastError(
            f"nothing was measured with {library!r}; there are: {', '.join(libraries()) or 'none'}"
        )
    file = resources.files(__package__).joinpath(FOLDER, f"{library}.toml")
    return parse(file.read_text("utf-8"), f"{library}.toml")


def measured(library: str, block: str, **options: Any) -> Measurement:
    """The measurement of a block with these options (others may have any value: the first found).

    Raises HardcastError if there is none.
    """
    for found in measurements(library):
        if found.block == block and all(found.options.get(k) == v for k, v in options.items()):
            return found
    said = "".join(f", {name} {value}" for name, value in options.items())
    raise HardcastError(f"{library}: no measurement of {block}{said}; hardcast synth makes one")


def parse(text: str, name: str) -> list[Measurement]:
    """The measurements in a file's text. Raises HardcastError for what is none."""
    try:
        entries = tomllib.loads(text).get("measurement", [])
        return [_measurement(dict(entry)) for entry in entries]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise HardcastError(f"{name}: no file of measurements ({error})") from None


def _measurement(entry: dict[str, Any]) -> Measurement:
    texts = {name: str(entry.pop(name)) for name in ("block", "kind", "source", "limit")}
    options = dict(entry.pop("options"))
    quantities = {n: Quantity(float(v["value"]), str(v["unit"])) for n, v in entry.items()}
    return Measurement(options=options, quantities=quantities, **texts)


def save(path: Path, new: list[Measurement]) -> None:
    """Puts measurements into a file; those of the same block and options are replaced."""
    check_above(path)
    check_file(path)
    old = parse(path.read_text("utf-8"), str(path)) if path.is_file() else []
    kept = {(m.block, tuple(m.options.items())): m for m in [*old, *new]}
    text = HEADER + "".join(_written(m) for _, m in sorted(kept.items(), key=_order))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text, "utf-8")
    aside.replace(path)


def _order(entry: tuple[tuple[str, tuple[tuple[str, Any], ...]], Measurement]) -> Any:
    (block, options), _ = entry
    return block, [(name, isinstance(value, str), value) for name, value in options]


def _written(measurement: Measurement) -> str:
    def toml(value: Any) -> str:
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    options = ", ".join(f"{name} = {toml(value)}" for name, value in measurement.options.items())
    lines = ["", "[[measurement]]", f"block = {toml(measurement.block)}"]
    lines.append(f"options = {{ {options} }}" if options else "options = {}")
    lines += [
        f"{name} = {toml(getattr(measurement, name))}" for name in ("kind", "source", "limit")
    ]
    for name, quantity in measurement.quantities.items():
        value = round(quantity.value, 4)
        number = str(int(value)) if value == int(value) else f"{value:.6g}"
        lines.append(f"{name} = {{ value = {number}, unit = {toml(quantity.unit)} }}")
    return "\n".join(lines) + "\n"
