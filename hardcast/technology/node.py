"""Process nodes: found in nodes/, or a file of the user's own.

Every figure is there and in its unit, or the node is refused.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from importlib import resources
from pathlib import Path

from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions
from hardcast.technology.figure import Figure, load_figures

PREFIX = "node."
"""Stands before the names of a node's figures and texts, so that others can be joined to them."""

LIBRARIES = ("asap7", "sg13g2")
"""Cell libraries that blocks were synthesised with (hardcast/chip/measured/)."""

TEXTS = ("title", "library", "summary")

UNITS = {
    "logic_density": "Mtr/mm2",
    "logic_area_factor": "1",
    "logic_delay_factor": "1",
    "logic_energy_factor": "1",
    "logic_margin": "1",
    "logic_leakage": "W/mm2",
    "cell_utilisation": "1",
    "supply": "V",
    "rom_bitcell": "um2",
    "rom_efficiency": "1",
    "rom_read": "fJ/bit",
    "rom_column_mux": "1",
    "rom_access": "ps",
    "rom_leakage": "W/mm2",
    "sram_bitcell": "um2",
    "sram_efficiency": "1",
    "sram_read": "fJ/bit",
    "sram_access": "ps",
    "sram_leakage": "W/mm2",
    "wire_delay": "ps/mm",
    "wire_energy": "fJ/bit/mm",
    "link_energy": "fJ/bit",
    "link_rate": "Gbit/s",
    "link_latency": "ns",
    "io_area": "mm2",
    "io_power": "W",
    "wafer_price": "USD",
    "wafer_diameter": "mm",
    "defect_density": "1/cm2",
    "defect_clustering": "1",
    "mask_set": "USD",
    "mask_pair": "USD",
    "reticle_width": "mm",
    "reticle_height": "mm",
    "scribe": "mm",
    "wafer_edge": "mm",
    "fab_weeks": "weeks",
    "respin_weeks": "weeks",
    "test_weeks": "weeks",
}
"""Every figure that a node must have, and its unit (docs/technology.md says what each is)."""

CURVES = {
    "rom_efficiency": "words",
    "rom_read": "rows",
    "rom_access": "words",
    "sram_efficiency": "words",
    "sram_read": "words",
    "sram_access": "words",
}
"""The figures that depend on a macro's depth, and what their places count."""


def node_names() -> list[str]:
    """The packaged nodes."""
    files = resources.files(__package__).joinpath("nodes").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))


def get_node(name: str) -> Assumptions:
    """The node called `name`, or the user's own where `name` is the path of a .toml file.

    Raises HardcastError naming the nearest node and all of them, and what `load_node` raises.
    """
    if name.endswith(".toml"):
        return load_node(Path(name))
    known = node_names()
    if name not in known:
        wanted = name.lower().removeprefix("tsmc").removesuffix("nm")
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}? There are" if near else "; there are"
        raise HardcastError(
            f"no process node {name!r}{hint}: {', '.join(known)}, or the path of a .toml file"
        )
    with resources.as_file(resources.files(__package__).joinpath("nodes", f"{name}.toml")) as path:
        return load_node(path)


def load_node(path: Path) -> Assumptions:
    """A node from its file: names of figures and texts begin with "node."; "node.name" is added.

    Raises HardcastError for what `load_figures` refuses, for a text or figure that is missing or
    unknown, for a figure in another unit, or over something else, than the formulas use, and for
    one that reaches 0: bands are sampled on logarithmic axes.
    """
    texts, figures = load_figures(path)
    _check_texts(path, texts)
    for name, figure in figures.items():
        if name not in UNITS:
            near = difflib.get_close_matches(name, UNITS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise HardcastError(f"{path}: unknown figure {name}{hint}")
        _check_figure(f"{path}: {name}", figure)
    if missing := [name for name in UNITS if name not in figures]:
        raise HardcastError(
            f"{path}: {missing[0]} is missing: a node needs it, in {UNITS[missing[0]]}"
        )
    named = {f"{PREFIX}{name}": text for name, text in texts.items()}
    named[f"{PREFIX}name"] = path.stem
    return Assumptions(
        {
            f"{PREFIX}{name}": replace(figure, name=f"{PREFIX}{name}")
            for name, figure in figures.items()
        },
        named,
    )


def _check_texts(path: Path, texts: dict[str, str]) -> None:
    for name in TEXTS:
        if not texts.get(name):
            raise HardcastError(f"{path}: {name} is missing: a node has {', '.join(TEXTS)}")
    if unknown := sorted(set(texts) - set(TEXTS)):
        raise HardcastError(f"{path}: unknown text {unknown[0]}; a node has {', '.join(TEXTS)}")
    if texts["library"] not in LIBRARIES:
        raise HardcastError(
            f"{path}: library is {texts['library']!r}; blocks are measured with: "
            f"{', '.join(LIBRARIES)}"
        )


def _check_figure(where: str, figure: Figure) -> None:
    expected = UNITS[figure.name]
    if figure.unit != expected:
        raise HardcastError(f"{where} is in {figure.unit}, expected {expected}")
    over = CURVES.get(figure.name, "")
    if bool(figure.at) != bool(over):
        said = f"a curve over {over}" if over else "one value"
        raise HardcastError(f"{where} must be {said}")
    if figure.over != over:
        raise HardcastError(
            f"{where} is over {figure.over or 'nothing'}, expected {over or 'none'}"
        )
    if min(figure.low) <= 0:
        raise HardcastError(f"{where} reaches {min(figure.low):g}: every figure is above 0")
