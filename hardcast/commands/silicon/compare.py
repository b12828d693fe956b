"""The chip beside GPUs and other machines: speed, power, price, cost, each with its source.

One user's speed and a device's at full load are kept apart, and the chip has a row for every number
of users that one read of its ROM may serve. What is published stands as published; what is reckoned
says how, in the footnotes.

Example:
  hardcast compare llama-3.1-8b --node n6
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hardcast.commands._parameters import whole
from hardcast.commands.silicon._cast import Cast, add_cast, cast_of, check_position
from hardcast.console import Console, table
from hardcast.economics.cells import FACT, NONE, Cell, number
from hardcast.economics.compare import COLUMNS, ChipFigures, Row, compare, truths
from hardcast.economics.cost import wall_power_w
from hardcast.economics.cost_figures import cost_figures
from hardcast.economics.quote import SYSTEMS, quote
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.models.shapes import get_shape, shape_names
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.uncertainty import bands

USERS = (1, 2, 4, 8)
POSITION = 1023  # of every user: rivals' speeds are mostly of a thousand tokens in and out
SPEED = (
    "tokens_s_user",
    "times_user",
    "tokens_s_device",
    "times_device",
    "devices",
    "tokens_s_system",
)
COST = (
    "area_mm2",
    "power_w",
    "mj_per_token",
    "price_usd",
    "usd_per_million_tokens",
    "cooling",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cast(parser, overrides=False)
    parser.add_argument(
        "--users",
        type=whole(1),
        metavar="N",
        help=f"tokens that one ROM read serves (default: rows for {', '.join(map(str, USERS))})",
    )
    parser.add_argument(
        "--position",
        type=whole(0),
        metavar="N",
        help=f"of each of the chip's users in its context (default: {POSITION}, or its last)",
    )
    parser.add_argument(
        "--systems",
        type=whole(1),
        metavar="N",
        default=SYSTEMS,
        help=f"of ours that share design and masks (default: {SYSTEMS:,})",
    )
    parser.add_argument(
        "--utilisation",
        type=float,
        metavar="X",
        help="share of its full load that each machine does, above 0 to 1 (default: as assumed)",
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    shape = shape_name(args.model)
    chips = []
    for users in (args.users,) if args.users else USERS:
        cast = cast_of(argparse.Namespace(**{**vars(args), "users": users}))
        context = cast.design.chip.context
        position = min(POSITION, context - 1) if args.position is None else args.position
        check_position(position, context)
        chips.append(chip_figures(cast, position, args.systems, args.utilisation))
    rows = compare(shape, chips, cost_figures(), args.utilisation)
    notes: dict[tuple[str, str, str], int] = {}
    for columns in (SPEED, COST):
        console.print(rows_table(rows, columns, notes))
        console.print()
    for line in truths(rows):
        console.print(line)
    console.print()
    for row in rows:
        console.print(f"{row.title}: {row.cells['infrastructure'].text}")
    console.print()
    for (kind, source, note), place in notes.items():
        console.print(f"[{place}] {kind}: {source}" + (f" ({note})" if note else ""))
    return {
        "model": args.model,
        "shape": shape,
        "node": args.node,
        "position": position,
        "systems": args.systems,
        "utilisation": args.utilisation or float(cost_figures()["cost.utilisation"]),
        "rows": [row.to_json() for row in rows],
        "truths": truths(rows),
    }


def shape_name(model: str) -> str:
    """A shape's name as it is; for an image's folder that of a shape with its sizes.

    Raises HardcastError for what is neither, and for an image of sizes that no shape has.
    """
    if not Path(model).is_dir():
        return model
    sizes = dataclasses.asdict(open_image(model).program.shape)
    for name in shape_names():
        config = get_shape(name).config
        if all(getattr(config, field) == size for field, size in sizes.items()):
            return name
    raise HardcastError(
        f"{model}: no shape of `hardcast models` has the image's sizes, so rivals have no figures"
    )


def chip_figures(cast: Cast, position: int, systems: int, utilisation: float | None) -> ChipFigures:
    """The chip that the options name, as compared: points and the 10th and 90th percentiles."""

    def answer(a: Assumptions) -> Mapping[str, Real]:
        found = quote(cast.design, a, position, systems, utilisation)
        power = wall_power_w(found.product, a)
        return {
            "area": found.estimate.area_mm2,
            "power": power,
            "user": found.product.tokens_s_user,
            "die": found.product.tokens_s / found.product.dies,
            "joule": power / found.product.tokens_s * 1e3,
            "price": found.unit.price_usd,
            "unit": found.unit.system_usd,
            "nre": found.first.total_usd,
            "tokens": found.serving.usd_per_million_tokens,
        }

    a = cast.assumptions.joined(cost_figures())
    found = {name: (band.low, band.point, band.high) for name, band in bands(answer, a).items()}
    node, dies, users = a.texts["node.name"], cast.design.dies, cast.design.chip.users
    return ChipFigures(
        name=f"this chip, {users} user{'s' if users > 1 else ''}",
        node=node,
        dies=dies,
        users=users,
        area_mm2=found["area"],
        power_w=found["power"],
        tokens_s_user=found["user"],
        tokens_s_die=found["die"],
        mj_per_token=found["joule"],
        price_usd=found["price"],
        unit_usd=found["unit"],
        nre_usd=found["nre"],
        usd_per_million_tokens=found["tokens"],
        systems=systems,
        infrastructure=f"{dies} card{'s' if dies > 1 else ''} in air-cooled servers",
        source=f"hardcast chip {cast.subject.name}, {cast.preset.chip.name} on {node}",
    )


def rows_table(
    rows: Sequence[Row], columns: Sequence[str], notes: dict[tuple[str, str, str], int]
) -> str:
    """Some columns of all rows. notes: footnotes by kind, source and note; new ones are added."""
    header = ["", *(COLUMNS[name] for name in columns)]
    lines = [[row.title, *(written(row.cells[name], notes) for name in columns)] for row in rows]
    return table(header, lines)


def written(cell: Cell, notes: dict[tuple[str, str, str], int]) -> str:
    """A cell with the number of its footnote; words have none."""
    if cell.kind == FACT:
        return cell.text
    place = notes.setdefault((cell.kind, cell.source, cell.note), len(notes) + 1)
    if cell.kind == NONE or cell.value is None:
        return f"- [{place}]"
    return f"{number(cell.value)} [{place}]"
