"""Shows what is on a chip, matrix by matrix; with --verify, checks every hash of the image.

A matrix's row gives its sizes, how its weights are stored (bits a code, planes, group) and what it
takes of the mask ROM, its scales, offsets and row multipliers included.

Example:
  hardcast inspect smollm2.image --verify
"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from typing import Any

from hardcast.commands._parameters import pathname
from hardcast.console import Console, amount, table
from hardcast.image import Image, open_image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", type=pathname, help="folder that `build` wrote")
    parser.add_argument("--verify", action="store_true", help="hash every tensor and compare")
    parser.add_argument(
        "--all", action="store_true", help="list every layer (default: layers alike, together)"
    )
    parser.add_argument("--steps", action="store_true", help="list the program, step by step")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    image = open_image(args.image)
    if args.verify:
        with console.progress() as progress:
            image.verify(progress)
    shape = image.program.shape
    config = {"architecture": image.program.architecture, **asdict(shape), "context": image.context}
    console.print(heading(image, verified=args.verify))
    console.print()
    console.print(table(HEADER, rows(image, every=args.all)))
    if args.steps:
        console.print("\n" + image.program.listing())
    return {
        "digest": image.digest,
        "config": config,
        "recipe": image.chip["recipe"]["name"],
        "activation_bits": image.chip["recipe"]["activation_bits"],
        "parameters": image.parameters,
        "rom_bits": image.rom_bits,
        "bits_per_weight": image.rom_bits / image.parameters,
        "widths": image.chip["widths"],
        "matrices": image.matrices,
        "points": image.points.to_json(),
        "provenance": image.provenance,
        "verified": args.verify,
    }


def heading(image: Image, verified: bool) -> str:
    """The chip as a whole."""
    shape, recipe = image.program.shape, image.chip["recipe"]
    return "\n".join(
        [
            f"digest      {image.digest}" + ("  (every tensor verified)" if verified else ""),
            f"model       {image.provenance.get('model', '?')} ({image.program.architecture})",
            f"recipe      {recipe['name']}, {recipe['activation_bits']}-bit activations, "
            f"context {image.context}",
            f"layers      {shape.num_hidden_layers} of hidden_size {shape.hidden_size}, "
            f"{shape.num_attention_heads} heads, {shape.num_key_value_heads} KV heads "
            f"of {shape.head_dim}",
            f"parameters  {image.parameters:,} at {image.rom_bits / image.parameters:.2f} bits: "
            f"{amount(image.rom_bits // 8)} of mask ROM",
        ]
    )


HEADER = ["matrix", "count", "out", "in", "bits", "planes", "group", "ROM"]


def rows(image: Image, every: bool) -> list[list[str]]:
    """One row a matrix, or one for all layers whose matrix of that name has the same form."""
    found: dict[tuple[str, ...], list[int]] = {}
    for name, entry in image.matrices.items():
        label = name if every else re.sub(r"^layers\.\d+\.", "layers.*.", name)
        form = [
            str(entry[k]) for k in ("out_features", "in_features", "bits", "planes", "group_size")
        ]
        found.setdefault((label, *form), []).append(entry["rom_bits"])
    return [
        [label, str(len(sizes)), *form, amount(sum(sizes) // 8)]
        for (label, *form), sizes in found.items()
    ]
