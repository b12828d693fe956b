"""A block of the chip through yosys with a real cell library: area, clock, energy.

Without an IMAGE the block is that of a recipe's chip. --pdk takes asap7 (7 nm, predictive) or
sg13g2 (IHP's 130 nm); $HARDCAST_PDK or $PDK_ROOT is the folder with the PDK's Liberty files.
Figures are of cells, typical, without wires unless they say wired: nothing is placed or routed.
Needs the extra `rtl`; with OpenSTA's `sta` on PATH the longest path is OpenSTA's.

Example:
  hardcast synth --pdk asap7 --block tile --bits 3
  hardcast synth smollm2.image --pdk asap7 --block tile,rows,gate
  hardcast synth --pdk sg13g2 --block all --save measured.toml
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from hardcast.cells.libraries import Library, get_library, library_names
from hardcast.chip import measured
from hardcast.chip.parameters import preset_names
from hardcast.commands._parameters import pathname, whole
from hardcast.commands.silicon._chip import chip_of
from hardcast.console import Console, table
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.rtl import emit
from hardcast.synthesis.blocks import BLOCKS, Block, get_block
from hardcast.synthesis.options import LINEAR, Options, of_design
from hardcast.synthesis.report import limit, measurement, to_json
from hardcast.synthesis.synthesize import Result, synthesize

ALL = "all"
RECIPES = {2: "ternary", 3: "3/6", 4: "4gptq"}  # of a chip with lanes of so many bits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", type=pathname, nargs="?", help="build's folder")
    parser.add_argument(
        "--pdk", metavar="PDK", required=True, help=f"cell library: {', '.join(library_names())}"
    )
    parser.add_argument(
        "--block",
        metavar="B,...",
        default="tile",
        help=f"{', '.join(BLOCKS)}, or {ALL} (default: tile)",
    )
    parser.add_argument("--clock-ps", type=whole(1), metavar="N", help="clock to size cells for")
    parser.add_argument(
        "--chip", metavar="PRESET", default="smollm2", help=", ".join(preset_names())
    )
    for name, what in (
        ("bits", "of a code in one plane"),
        ("columns", "inputs a lane multiplies a cycle"),
        ("users", "tokens that one ROM read serves"),
        ("tile-rows", "lanes of the spine (default: what the block says)"),
        ("positions", "KV positions that attention reads a cycle"),
    ):
        parser.add_argument(f"--{name}", type=whole(1), metavar="N", help=what)
    parser.add_argument(
        "--recipe", metavar="R", help=f"whose codes the tiles have, or {LINEAR} (one codebook)"
    )
    parser.add_argument("--shape", metavar="S", help="model whose sizes the block has")
    parser.add_argument("--no-energy", action="store_true", help="leave the simulation out")
    parser.add_argument(
        "--save", metavar="FILE", type=pathname, help="a .toml file to add figures to"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    library = get_library(args.pdk)
    names = list(BLOCKS) if args.block == ALL else args.block.split(",")
    blocks = [get_block(name) for name in names]
    made = _options(args, blocks)
    results = []
    with console.progress() as progress:
        for block, options in made:
            results.append(
                synthesize(block, options, library, args.clock_ps, not args.no_energy, progress)
            )
            if args.save is not None:  # a long run that is stopped keeps what it has
                measured.save(args.save, [measurement(results[-1])])
    console.print(summary(results, library))
    reports = [to_json(result) for result in results]
    return reports[0] if len(reports) == 1 else {"blocks": reports}


def _options(args: argparse.Namespace, blocks: list[Block]) -> list[tuple[Block, Options]]:
    if args.image is not None:
        if args.recipe is not None or args.shape is not None:
            raise HardcastError("an image has its own codes and shape: leave --recipe, --shape out")
        image = open_image(args.image)
        options = of_design(emit.design(image, chip_of(args, image)))
        return [(block, options) for block in blocks]
    given = {
        "bits": args.bits,
        "columns": args.columns,
        "users": args.users,
        "lanes": args.tile_rows,
        "positions": args.positions,
        "recipe": args.recipe,
        "shape": args.shape,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if "bits" in given and "recipe" not in given:
        if given["bits"] not in RECIPES:
            raise HardcastError(f"--bits {given['bits']}: a plane has 2, 3 or 4")
        given["recipe"] = RECIPES[given["bits"]]
    return [
        (block, dataclasses.replace(Options(), **{**block.defaults, **given})) for block in blocks
    ]


def summary(results: list[Result], library: Library) -> str:
    """A table, and what it says of clocks that are missed."""
    rows = []
    for r in results:
        energy = "" if r.energy_fj_per_op is None else f"{r.energy_fj_per_op:.1f}"
        used = " ".join(f"{name}={value}" for name, value in r.used.items())
        rows.append(
            [
                r.block.name,
                f"{r.area_um2:.1f}",
                f"{r.cells}",
                f"{r.critical_path_ps:.0f}",
                f"{r.wired_path_ps:.0f}",
                energy,
                limit(r),
                used,
            ]
        )
    head = ["block", "um2", "cells", "ps", "ps wired", "fJ an op", "longest path", "for"]
    lines = [table(head, rows), library.title, f"with {results[0].source}"]
    for r in results:
        if not r.meets:
            lines.append(
                f"{r.block.name} misses {r.clock_ps} ps by {r.critical_path_ps - r.clock_ps:.0f}"
            )
    return "\n".join(lines)
