"""Turns a checkpoint into a chip image: integers only, everything the masks will hold.

MODEL is a .gguf file, a folder with safetensors and config.json, a hub id, or a packaged name
(see `hardcast models`). A Q4_0 or Q4_1 file is imported exactly, on its own grid; other weights
are rounded to the nearest 4-bit value. The image appears under its name only when it is whole.

Example:
  hardcast build smollm2-135m -o smollm2.image
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hardcast import flow
from hardcast.commands._parameters import whole
from hardcast.console import Console, amount
from hardcast.quantize.recipe import RECIPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="file, folder, hub id or packaged name")
    parser.add_argument(
        "-o", "--output", metavar="IMAGE", type=Path, required=True, help="folder to write"
    )
    parser.add_argument(
        "--recipe", default="4bit", metavar="R", help=f"how weights become: {', '.join(RECIPES)}"
    )
    parser.add_argument(
        "--context",
        type=whole(1),
        metavar="N",
        help="positions that the chip's KV cache holds "
        f"(default: the model's own, {flow.DEFAULT_CONTEXT} at most)",
    )
    bits = flow.ACTIVATION_BITS_RANGE
    parser.add_argument(
        "--activation-bits",
        type=whole(bits[0], bits[-1]),
        default=bits[0],
        metavar="N",
        help=f"{bits[0]} to {bits[-1]} (default: {bits[0]}; more needs two passes a matrix)",
    )
    parser.add_argument(
        "--stop-after",
        metavar="PASS",
        help=f"run up to a pass and write nothing: {', '.join(flow.PASSES)}",
    )
    parser.add_argument("--force", action="store_true", help="replace an image of the same name")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    with console.progress() as progress:
        report = flow.build(
            args.model,
            args.output,
            recipe=args.recipe,
            context=args.context,
            activation_bits=args.activation_bits,
            stop_after=args.stop_after,
            replace=args.force,
            progress=progress,
        )
    console.print(summary(report))
    written = report.stopped_after is None or bool(report.digest)
    return {
        "path": str(report.path) if written else None,
        "digest": report.digest or None,
        "parameters": report.parameters,
        "bits_per_weight": report.bits_per_weight,
        "rom_bits": report.rom_bits,
        "seconds": report.seconds,
        "stopped_after": report.stopped_after,
    }


def summary(report: flow.BuildReport) -> str:
    """What was built, in two or three lines."""
    weights = f"{report.parameters:,} weights"
    if report.parameters:
        rom = amount(report.rom_bits // 8)
        weights += f" at {report.bits_per_weight:.2f} bits: {rom} of mask ROM"
    if not report.digest:
        return f"stopped after {report.stopped_after}, nothing written; {weights}"
    return f"{report.path}\ndigest {report.digest}\n{weights}, in {report.seconds:.1f} s"
