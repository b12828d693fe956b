"""Searches the designs that a model could be cast as, and keeps those that no other beats.

Every mix of slices, tile rows, columns, users, KV positions and dies is a point; `hardcast chip`'s
model gives its figures, economics its cost. What cannot be made is counted by its reason. The front
holds the points that no other beats in one objective without losing in another. With --journal an
interrupted search goes on where it was. docs/explore.md tells how to use a cluster.

Example:
  hardcast explore llama-3.1-8b
  hardcast explore llama-3.1-8b --points 50000 --journal search.jsonl -o front.html -o points.csv
  hardcast explore smollm2-135m --node sg13g2 --objectives tokens_s_user,area_mm2 --max-dies 1
  hardcast explore llama-3.1-70b --scheduler tcp://head:8786 --max-power-w 2000
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hardcast.chip.design import Design
from hardcast.chip.estimate import chip_assumptions
from hardcast.chip.fit import fit
from hardcast.chip.parameters import Preset, get_preset, preset_names
from hardcast.chip.subject import Subject, open_subject, preset_for
from hardcast.commands._parameters import named, pathname, positive, whole
from hardcast.commands.silicon._cast import DEFAULT_NODE
from hardcast.commands.silicon._explored import Explored, check_output, entry, write
from hardcast.commands.silicon._front import front_rows, show
from hardcast.console import Console
from hardcast.cores import usable_cores
from hardcast.economics.quote import SYSTEMS, priced_assumptions
from hardcast.errors import HardcastError
from hardcast.explore.cluster import cluster
from hardcast.explore.evaluate import Result, Task
from hardcast.explore.journal import Journal, key_of
from hardcast.explore.objectives import (
    DEFAULT,
    DOWN,
    QUANTITIES,
    UP,
    Limit,
    answer,
    parse_objectives,
)
from hardcast.explore.search import search
from hardcast.explore.space import Space, read_space, standard_space, wide_space
from hardcast.explore.workers import processes
from hardcast.technology.node import node_names

POSITION = 1023
LIMITS = {  # option: figure, way, what
    "max-area-mm2": ("area_mm2", DOWN, "silicon of all dies"),
    "max-power-w": ("power_w", DOWN, "power of all dies"),
    "min-tokens-s-user": ("tokens_s_user", UP, "tokens/s of one user"),
    "max-dies": ("dies", DOWN, "dies of the system"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=named,
        metavar="SHAPE_OR_IMAGE",
        help="a shape of `hardcast models`, or an image's folder",
    )
    group = parser.add_argument_group("the space")
    group.add_argument(
        "--node",
        metavar="N,...",
        default=DEFAULT_NODE,
        help=f"{', '.join(node_names())}, or .toml files (default: {DEFAULT_NODE})",
    )
    group.add_argument(
        "--preset", metavar="P", help=f"around which: {', '.join(preset_names())} (default: suits)"
    )
    group.add_argument(
        "--recipe", metavar="R,...", help="whose codes the weights have (default: the preset's)"
    )
    group.add_argument(
        "--space", metavar="FILE", type=pathname, help="a .toml file of lists by axis"
    )
    group.add_argument(
        "--points", metavar="N", type=whole(1), help="draw N points, of a wider space without FILE"
    )
    group.add_argument(
        "--seed", metavar="N", type=whole(0), default=0, help="of --points (default: 0)"
    )
    group = parser.add_argument_group("what is wanted")
    group.add_argument(
        "--objectives",
        metavar="A,B,...",
        help=f"of {', '.join(QUANTITIES)} (default: {','.join(DEFAULT)}, and weight_bits where "
        "there are several recipes)",
    )
    for name, (_, way, what) in LIMITS.items():
        end = "at most" if way == DOWN else "at least"
        group.add_argument(f"--{name}", metavar="X", type=positive, help=f"{what}: {end} X")
    group.add_argument(
        "--position",
        metavar="N",
        type=whole(0),
        help=f"of every user in its context (default: {POSITION}, or the last of the context)",
    )
    group.add_argument(
        "--systems",
        metavar="N",
        type=whole(1),
        default=SYSTEMS,
        help=f"that share design and masks (default: {SYSTEMS:,})",
    )
    group.add_argument(
        "--utilisation",
        metavar="X",
        type=share,
        help="share of its full load that a system does, above 0 to 1 (default: as assumed)",
    )
    group = parser.add_argument_group("the work")
    group.add_argument(
        "--jobs", metavar="N", type=whole(1, 1024), help="processes (default: one a core)"
    )
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://host:8786"
    )
    group.add_argument(
        "--journal", metavar="FILE", type=pathname, help="keep results in FILE, and go on from it"
    )
    group.add_argument(
        "-o",
        dest="outputs",
        metavar="FILE",
        type=pathname,
        action="append",
        default=[],
        help=".csv, .json: all points; .svg, .html: pictures of the front; may be repeated",
    )
    group.add_argument("--force", action="store_true", help="replace files of -o that are there")


def share(text: str) -> float:
    """Parser of a number above 0 and at most 1."""
    value = positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, at most 1; found {text:.40}")
    return value


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    for path in args.outputs:
        check_output(path, args.force)
    if args.scheduler is not None and args.jobs:
        raise HardcastError("--jobs counts processes of this machine: not with --scheduler")
    task = task_of(args)
    objectives = parse_objectives(args.objectives) if args.objectives else usual(task)
    limits = limits_of(args)
    points = task.space.numbers(args.points, args.seed)
    subject = next(iter(task.subjects.values()))
    title = f"{subject.name} on {', '.join(task.assumptions)}"
    console.print(f"{title}: {len(points):,} points of a space of {task.space.size:,}")
    begin = time.monotonic()
    results = evaluated(args, console, task, points)
    seconds = time.monotonic() - begin
    found = answer(results, objectives, limits)
    rows = front_rows(task, found, objectives)
    summary = {
        "model": subject.name,
        "digest": subject.digest or None,
        "nodes": list(task.assumptions),
        "recipes": list(task.subjects),
        "position": task.position,
        "systems": task.systems,
        "space": {axis: list(values) for axis, values in task.space.lists.items()},
        "space_size": task.space.size,
        "objectives": list(objectives),
        "limits": {limit.option: limit.value for limit in limits},
        "points": found.points,
        "feasible": found.feasible,
        "within": found.within,
        "reasons": dict(found.reasons),
        "seconds": seconds,
    }
    show(console, found, rows, objectives, seconds)
    for path in args.outputs:
        write(path, Explored(title, results, found, objectives, summary, rows))
        console.print(f"wrote {path}")
    return {**summary, "front": [entry(result) for result in found.front]}


def task_of(args: argparse.Namespace) -> Task:
    """The search that the options describe.

    Raises HardcastError for an unknown model, node, recipe or preset, for a space that is none and
    for a position beyond every context.
    """
    chosen = get_preset(args.preset) if args.preset else None
    is_image = Path(args.model).is_dir()
    wanted = args.recipe.split(",") if args.recipe else [None]
    if wanted == [None] and chosen is not None and not is_image:
        wanted = [chosen.recipe]
    first = open_subject(args.model, wanted[0])
    preset = chosen or preset_for(first.program.shape.hidden_size)
    space = space_of(args, first, preset, [name or first.recipe for name in wanted])
    recipes = [str(name) for name in space.lists["recipe"]]
    if is_image and recipes != [first.recipe]:
        raise HardcastError(f"{args.model} is an image, whose codes are what they are: no recipes")
    subjects = {
        name: first if name == first.recipe else open_subject(args.model, name) for name in recipes
    }
    contexts = [int(context) for context in space.lists["context"]]
    position = args.position if args.position is not None else min(POSITION, min(contexts) - 1)
    if position >= max(contexts):
        raise HardcastError(f"--position {position} is beyond the context of {max(contexts)}")
    nodes = {str(name): priced_assumptions(str(name)) for name in space.lists["node"]}
    return Task(space, subjects, nodes, position, args.systems, args.utilisation)


def space_of(
    args: argparse.Namespace, subject: Subject, preset: Preset, recipes: Sequence[str]
) -> Space:
    """The space that is searched."""
    wide = args.points is not None and args.space is None
    nodes = args.node.split(",")
    made = (wide_space if wide else standard_space)(
        subject.program.shape, preset, nodes, recipes, fewest_dies(subject, preset, nodes[0])
    )
    return read_space(args.space, made) if args.space else made


def fewest_dies(subject: Subject, preset: Preset, node: str) -> int:
    """Dies that the model needs on the preset; 1 where it is no chip for this model."""
    assumptions = chip_assumptions(node)
    try:
        chip = dataclasses.replace(preset.chip, bits=subject.bits)
        return fit(Design(subject, chip), assumptions).dies
    except HardcastError:
        return 1


def usual(task: Task) -> tuple[str, ...]:
    """The objectives where none are named: fewer bits would win everything but what they cost."""
    return (*DEFAULT, "weight_bits") if len(task.subjects) > 1 else DEFAULT


def limits_of(args: argparse.Namespace) -> list[Limit]:
    """The constraints among the options."""
    found = []
    for name, (figure, way, _) in LIMITS.items():
        value = getattr(args, name.replace("-", "_"))
        if value is not None:
            found.append(Limit(f"--{name}", figure, way, value))
    return found


def evaluated(
    args: argparse.Namespace, console: Console, task: Task, points: Sequence[int]
) -> list[Result]:
    """The results of all points. A KeyboardInterrupt says what became of the search."""
    if args.scheduler is not None:
        workers = cluster(args.scheduler, console.error)
    else:
        workers = processes(args.jobs or usable_cores())
    opened = Journal(args.journal, key_of(task)) if args.journal else nullcontext()
    with opened as journal, console.progress() as bars, said(args.journal, len(points)):
        if journal is not None and journal.results:
            console.print(f"{args.journal} has {len(journal.results):,} points already")
        return search(task, points, workers, journal, bars)


@contextmanager
def said(journal: Path | None, points: int) -> Iterator[None]:
    """Tells with an interrupt how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if journal is None:
            raise KeyboardInterrupt("nothing is kept; with --journal FILE it could go on") from None
        kept = max(journal.read_bytes().count(b"\n") - 1, 0)
        raise KeyboardInterrupt(
            f"{journal} has {kept:,} points (of {points:,}): the same command goes on"
        ) from None
