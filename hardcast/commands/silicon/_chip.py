"""--chip and its parameters, for the verbs that lay an image on a chip."""

from __future__ import annotations

import argparse
import dataclasses

from hardcast.chip.parameters import Chip, get_preset, preset_names
from hardcast.commands._parameters import whole
from hardcast.image import Image

# Options that replace one parameter of the preset: name, what.
OVERRIDES = {
    "bits": "bits of a code in one plane (default: what the codes need)",
    "columns": "inputs a lane multiplies a cycle",
    "slices": "columns of tiles",
    "tile-rows": "rows of tiles, and lanes of the spine",
    "users": "tokens that one ROM read serves",
    "positions": "KV positions that attention reads a cycle",
    "broadcast-stages": "registers between the slice buffers and the tiles",
    "gather-stages": "registers between the adder tree and the spine",
    "context": "positions of the KV memory",
}


def add_chip(parser: argparse.ArgumentParser, users: bool = True) -> None:
    """--chip PRESET and an option for each parameter that may differ from it."""
    group = parser.add_argument_group("the chip")
    group.add_argument(
        "--chip",
        metavar="PRESET",
        default="smollm2",
        help=f"{', '.join(preset_names())} (default: smollm2)",
    )
    for name, what in OVERRIDES.items():
        if users or name != "users":
            group.add_argument(f"--{name}", type=whole(0), metavar="N", help=what)


def chip_of(args: argparse.Namespace, image: Image, **fixed: int) -> Chip:
    """The preset with what the options and `fixed` change; lanes of the image's width.

    Raises HardcastError for an unknown preset or parameters that no chip can have.
    """
    chip = get_preset(args.chip).chip
    changes = {
        name.replace("-", "_"): getattr(args, name.replace("-", "_"), None) for name in OVERRIDES
    }
    changes = {name: value for name, value in changes.items() if value is not None} | fixed
    if "bits" not in changes:
        changes["bits"] = max(entry["bits"] for entry in image.matrices.values())
    if "context" not in changes:
        changes["context"] = min(chip.context, image.context)
    chip = dataclasses.replace(chip, **changes)
    chip.check()
    return chip
