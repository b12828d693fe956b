"""Writes the chip as SystemVerilog: modules, the contents of every ROM, the program, a file list.

Verilator, slang and yosys read the folder from inside (-f files.f), or from elsewhere with
-F DIR/files.f and -DHC_ROM='"DIR/rom"'. ROM contents are hexadecimal words for $readmemh; a running
simulation takes +hc_rom=DIR/rom. The same image and chip give the same bytes, and the chip's ID
registers hold the image's digest.

Example:
  hardcast rtl smollm2.image -o smollm2.rtl --chip smollm2
"""

from __future__ import annotations

import argparse
from typing import Any

from hardcast.commands._parameters import pathname
from hardcast.commands.silicon._chip import add_chip, chip_of
from hardcast.console import Console
from hardcast.image import open_image
from hardcast.rtl import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", type=pathname, help="folder that `build` wrote")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=pathname, required=True, help="folder to write"
    )
    add_chip(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    image = open_image(args.image)
    design = emit.design(image, chip_of(args, image))
    with console.progress() as progress:
        described = emit.emit(design, args.output, progress)
    chip = design.geometry.chip
    tiles = chip.tile_rows * chip.slices
    console.print(f"{args.output}")
    console.print(
        f"{tiles} tiles of {chip.rows} x {chip.columns} lanes, {chip.bits} bits, "
        f"{design.places.tile} ROM words each; {len(design.model.ops)} program words"
    )
    console.print(f"digest {image.digest}")
    return described
