"""The chip as numbers: cycles and tokens a second from the cycle model, and where the time goes.

The model is the one that the RTL equals cycle for cycle (`hardcast simulate` holds them together).
A shape needs no weights: its matrices are taken to have the planes of the preset's recipe.

Example:
  hardcast chip llama-3.1-8b --preset hc1
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from hardcast import models
from hardcast.chip.cycles import CycleModel, TokenCycles
from hardcast.chip.geometry import Geometry
from hardcast.chip.parameters import Chip, Preset, get_preset, preset_names
from hardcast.chip.schedule import schedule
from hardcast.commands._parameters import whole
from hardcast.console import Console, table
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.models.shapes import get_shape, shape_names
from hardcast.program.program import Program
from hardcast.quantize import recipe as recipes

DEFAULT_POSITIONS = (0, 128, 1023, 8191)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="SHAPE_OR_IMAGE", help="a shape of `hardcast models`, or an image's folder"
    )
    parser.add_argument(
        "--preset", metavar="P", default="hc1", help=f"{', '.join(preset_names())} (default: hc1)"
    )
    parser.add_argument(
        "--recipe", metavar="R", help="whose planes the matrices have (default: the preset's)"
    )
    parser.add_argument(
        "--position", type=whole(0), metavar="N", help="of the token (default: several)"
    )
    parser.add_argument("--context", type=whole(1), metavar="N", help="positions of the KV memory")
    parser.add_argument("--users", type=whole(1), metavar="N", help="tokens a ROM read serves")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    preset = get_preset(args.preset)
    program, planes = subject(args.model, args.recipe or preset.recipe)
    chip = dataclasses.replace(
        preset.chip,
        context=args.context or preset.chip.context,
        users=args.users or preset.chip.users,
    )
    chip.check()
    model = CycleModel(Geometry(chip, program.shape), schedule(program, planes))
    positions = [args.position] if args.position is not None else list(DEFAULT_POSITIONS)
    if args.position is not None and args.position >= chip.context:
        raise HardcastError(f"position {args.position} is beyond the context of {chip.context}")
    points = [point(model, preset, p) for p in positions if p < chip.context]
    console.print(heading(args.model, preset, chip))
    console.print()
    header = ["position", "cycles", "tokens/s a user", "matrices", "attention", "vectors", "wires"]
    rows = [
        [
            str(p["position"]),
            f"{p['cycles']:,}",
            f"{p['tokens_s_user']:,.0f}",
            *(f"{p['share'][k]:.1%}" for k in ("matvec", "attention", "vector", "wires")),
        ]
        for p in points
    ]
    console.print(table(header, rows))
    console.print("\nwires: of the time of matrices, what passes in broadcast and gather registers")
    last = points[-1]
    return {
        "preset": preset.chip.name,
        "parameters": chip.to_json(),
        "clock_ghz": preset.clock_ghz,
        "clock_source": preset.clock_source,
        "tokens_s_user": last["tokens_s_user"],
        "tokens_s_die": last["tokens_s_user"] * chip.users,
        "points": points,
    }


def subject(name: str, recipe: str) -> tuple[Program, dict[str, int]]:
    """The program of a shape or an image, and each matrix's planes."""
    if Path(name).is_dir():
        image = open_image(name)
        return image.program, {m: entry["planes"] for m, entry in image.matrices.items()}
    if name not in shape_names():
        raise HardcastError(
            f"{name!r} is no image's folder and no known shape; `hardcast models` lists the shapes"
        )
    config = get_shape(name).config
    program = models.build_program(config)
    code = recipes.get(recipe)
    return program, {matrix: code.code(matrix).planes for matrix in program.matrices()}


def point(model: CycleModel, preset: Preset, position: int) -> dict[str, Any]:
    """Figures of a token at one position, every user at it."""
    cycles: TokenCycles = model.token([position])
    parts = cycles.by_kind
    other = parts["vector"] + parts["sample"] + cycles.total - sum(parts.values())
    return {
        "position": position,
        "cycles": cycles.total,
        "by_kind": parts,
        "tokens_s_user": preset.clock_ghz * 1e9 / cycles.total,
        "share": {
            "matvec": (parts["matvec"] - cycles.wires) / cycles.total,
            "attention": parts["attend"] / cycles.total,
            "vector": other / cycles.total,
            "wires": cycles.wires / cycles.total,
        },
    }


def heading(name: str, preset: Preset, chip: Chip) -> str:
    """What is counted, on what."""
    return "\n".join(
        [
            f"{name} on {chip.name}: {preset.summary}",
            f"{chip.tile_rows * chip.slices:,} tiles of {chip.rows} x {chip.columns} lanes, "
            f"{chip.bits} bits; {chip.users} user{'s' if chip.users > 1 else ''}, "
            f"{chip.positions} KV positions a cycle",
            f"clock {preset.clock_ghz:g} GHz: {preset.clock_source}",
        ]
    )
