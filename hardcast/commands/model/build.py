"""Turns a checkpoint into a chip image: integers only, everything the masks will hold.

MODEL is a .gguf file, a folder with safetensors and config.json, a hub id, or a packaged name
(see `hardcast models`); with --synthetic the name of a shape, whose weights are drawn at random.
A recipe says what becomes of the weights. `4keep`, the default, keeps a stored 4-bit grid exactly
(Q4_0, Q4_1, Q4_K and others) and rounds matrices without one against a calibration text (GPTQ);
how long that takes is told first. `4bit` rounds them to the nearest instead: seconds. `file` keeps
the file's own precision, in 4 or 8 bits; `3bit` and `3/6` rotate the model first. A .toml file is a
recipe of your own. The image appears under its name only when it is whole; a long build that was
interrupted goes on where it was when it is started again.

Example:
  hardcast build smollm2-135m -o smollm2.image
  hardcast build qwen2.5-coder-0.5b --recipe file -o qwen.image
  hardcast build smollm2-135m --recipe 3/6 -o smollm2-3.image
  hardcast build --synthetic llama-3.1-8b --recipe 3/6 -o 8b.image
"""

from __future__ import annotations

import argparse
from typing import Any

from hardcast import flow
from hardcast.commands._parameters import named, pathname, whole
from hardcast.console import Console, amount
from hardcast.errors import HardcastError
from hardcast.quantize import recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=named,
        metavar="MODEL",
        nargs="?",
        help="file, folder, hub id or packaged name",
    )
    parser.add_argument(
        "--synthetic",
        type=named,
        metavar="SHAPE",
        help="random weights of a shape known by name instead",
    )
    parser.add_argument(
        "--seed", type=whole(0), default=0, metavar="N", help="of the random weights (default: 0)"
    )
    parser.add_argument(
        "-o", "--output", metavar="IMAGE", type=pathname, required=True, help="folder to write"
    )
    parser.add_argument(
        "--recipe",
        default=recipe.DEFAULT,
        metavar="R",
        help=f"{', '.join(recipe.names())}, or a .toml file (default: {recipe.DEFAULT})",
    )
    parser.add_argument(
        "--bits",
        type=float,
        metavar="B",
        help="ROM bits a weight, in all, that a searching recipe (auto) may spend",
    )
    parser.add_argument(
        "--calibrate",
        metavar="TEXT",
        type=pathname,
        help="UTF-8 text for recipes that calibrate (default: a packaged one)",
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
    if (args.model is None) == (args.synthetic is None):
        raise HardcastError("give either a MODEL or --synthetic SHAPE")
    with console.progress() as progress:
        report = flow.build(
            args.model or args.synthetic,
            args.output,
            synthetic=args.synthetic is not None,
            seed=args.seed,
            recipe=args.recipe,
            calibrate=args.calibrate,
            bits=args.bits,
            context=args.context,
            activation_bits=args.activation_bits,
            stop_after=args.stop_after,
            replace=args.force,
            progress=progress,
            note=progress.note,
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
        "notes": list(report.notes),
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
