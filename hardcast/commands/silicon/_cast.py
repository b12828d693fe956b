"""The options that say which chip, for the verbs that price one, and the design they name."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from hardcast.chip.design import Design
from hardcast.chip.estimate import chip_assumptions
from hardcast.chip.fit import fit
from hardcast.chip.parameters import Preset, get_preset, preset_names
from hardcast.chip.subject import Subject, open_subject, preset_for
from hardcast.commands._parameters import named, whole
from hardcast.commands.silicon._chip import OVERRIDES
from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions
from hardcast.technology.node import node_names

DEFAULT_NODE = "n6"


def add_cast(parser: argparse.ArgumentParser, overrides: bool = True) -> None:
    """SHAPE_OR_IMAGE, --node, --preset, --recipe, and the preset's parameters."""
    parser.add_argument(
        "model",
        type=named,
        metavar="SHAPE_OR_IMAGE",
        help="a shape of `hardcast models`, or an image's folder",
    )
    group = parser.add_argument_group("the chip")
    nodes = ", ".join(node_names())
    group.add_argument(
        "--node",
        metavar="N",
        default=DEFAULT_NODE,
        help=f"process: {nodes}, or a .toml file (default: {DEFAULT_NODE})",
    )
    group.add_argument(
        "--preset",
        metavar="P",
        help=f"{', '.join(preset_names())} (default: the one that suits the model)",
    )
    group.add_argument(
        "--recipe", metavar="R", help="whose codes the weights have (default: the preset's)"
    )
    if not overrides:
        return
    for name, what in OVERRIDES.items():
        group.add_argument(f"--{name}", type=whole(0), metavar="N", help=what)
    group.add_argument(
        "--stages", type=whole(1), metavar="N", help="chips in a row, a part of the layers each"
    )
    group.add_argument(
        "--pieces", type=whole(1), metavar="N", help="dies that each of these chips is cut into"
    )
    group.add_argument(
        "--lora-rank", type=whole(0), metavar="N", default=0, help="rank of adapters held in SRAM"
    )


@dataclasses.dataclass(frozen=True)
class Cast:
    """What the options name. asked: the design on one die; design: on as many as it needs.

    fitted: whether that number was found here, instead of asked for.
    """

    subject: Subject
    preset: Preset
    assumptions: Assumptions
    asked: Design
    design: Design
    fitted: bool = True


def cast_of(args: argparse.Namespace) -> Cast:
    """The model on the chip that the options name.

    Raises HardcastError for an unknown model, node, preset or recipe, and for options that
    contradict each other or the model.
    """
    assumptions = chip_assumptions(args.node)
    preset = get_preset(args.preset) if args.preset else None
    recipe = args.recipe
    if recipe is None and preset is not None and not Path(args.model).is_dir():
        recipe = preset.recipe
    subject = open_subject(args.model, recipe)
    if preset is None:
        preset = preset_for(subject.program.shape.hidden_size)
    changes: dict[str, Any] = {"bits": subject.bits}
    for name in (option.replace("-", "_") for option in OVERRIDES):
        if getattr(args, name, None) is not None:
            changes[name] = getattr(args, name)
    chip = dataclasses.replace(preset.chip, **changes)
    asked = Design(subject, chip, lora_rank=getattr(args, "lora_rank", 0))
    stages, pieces = getattr(args, "stages", None), getattr(args, "pieces", None)
    if stages or pieces:
        design = dataclasses.replace(asked, stages=stages or 1, pieces=pieces or 1)
    else:
        design = fit(asked, assumptions)
    return Cast(subject, preset, assumptions, asked, design, fitted=not (stages or pieces))


def check_position(position: int, context: int) -> None:
    """Raises HardcastError for a position that the KV memory does not hold."""
    if position >= context:
        raise HardcastError(f"position {position} is beyond the context of {context}")
