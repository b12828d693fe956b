"""The datasheet: one self-contained page about a model as a chip, with plots and layouts.

It opens offline in any browser and prints on A4: summary, the die to scale, bits a layer, speed,
area, power, price, comparison, uncertainty, validation, and every figure with its source. Needs the
extra `report` for its plots. --quality takes what `hardcast eval IMAGE --json` wrote, of a text,
of tasks, or one file of each.

Example:
  hardcast report llama-3.1-8b -o llama.html
  hardcast report smollm2.image --node sg13g2 --quality quality.json -o smollm2.html
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import shlex
from pathlib import Path
from typing import Any

from hardcast.commands._parameters import pathname, positive, whole
from hardcast.commands.silicon._cast import DEFAULT_NODE, add_cast, cast_of, check_position
from hardcast.commands.silicon._chip import OVERRIDES
from hardcast.console import Console, amount
from hardcast.economics.cost_figures import cost_figures
from hardcast.economics.quote import SYSTEMS
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.report.page import Imprint, render
from hardcast.report.quality import Quality, joined, read_quality
from hardcast.report.save import check_target, save
from hardcast.report.study import Case

POSITION = 1023  # of every user in the headlines, where the context is that long
# Options that change what the page says, besides the model, in the order of the footer's command.
SAID = (
    "node preset recipe " + " ".join(OVERRIDES) + " stages pieces lora-rank position clock-ghz "
    "systems utilisation quality date"
).split()
SILENT = {"node": DEFAULT_NODE, "lora-rank": 0, "systems": SYSTEMS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cast(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE.html", type=pathname, required=True, help="page to write"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a file that is no datasheet, too"
    )
    parser.add_argument(
        "--position",
        type=whole(0),
        metavar="N",
        help=f"of every user in the headlines (default: {POSITION}, or the context's last)",
    )
    parser.add_argument(
        "--clock-ghz", type=positive, metavar="F", help="a clock to assume (default: the node's)"
    )
    parser.add_argument(
        "--systems",
        type=whole(1),
        metavar="N",
        default=SYSTEMS,
        help=f"how many share design and masks (default: {SYSTEMS:,})",
    )
    parser.add_argument(
        "--utilisation",
        type=share,
        metavar="X",
        help="share of full load, above 0 to 1 (default: as assumed)",
    )
    parser.add_argument(
        "--quality",
        type=pathname,
        action="append",
        metavar="FILE.json",
        help="what `hardcast eval --json` measured; may be repeated: a text's, and tasks'",
    )
    parser.add_argument(
        "--date",
        type=day,
        metavar="YYYY-MM-DD",
        help="to print (default: SOURCE_DATE_EPOCH's, else today)",
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    check_target(args.output, args.force)
    date = args.date or today()
    case = case_of(args)
    with console.progress() as progress:
        html = render(case, Imprint(date, command(args)), progress)
    size = save(args.output, html)
    console.print(f"{args.output}  {amount(size)}")
    return {
        "path": str(args.output),
        "size_bytes": size,
        "digest": case.subject.digest or None,
        "sha256": hashlib.sha256(html.encode("utf-8")).hexdigest(),
        "model": case.subject.name,
        "node": case.assumptions.texts["node.name"],
        "dies": case.design.dies,
        "position": case.position,
        "date": date,
    }


def case_of(args: argparse.Namespace) -> Case:
    """What the options name.

    Raises HardcastError as cast_of does, for a position beyond the context, and for a measurement
    that is of another image.
    """
    cast = cast_of(args)
    context = cast.design.chip.context
    position = min(POSITION, context - 1) if args.position is None else args.position
    check_position(position, context)
    image = open_image(args.model) if cast.subject.digest else None
    return Case(
        subject=cast.subject,
        preset=cast.preset,
        assumptions=cast.assumptions.joined(cost_figures()),
        asked=cast.asked,
        design=cast.design,
        position=position,
        systems=args.systems,
        utilisation=args.utilisation,
        clock_ghz=args.clock_ghz,
        image=image,
        quality=(
            joined([quality_of(path, cast.subject.digest) for path in args.quality])
            if args.quality
            else None
        ),
    )


def quality_of(path: Path, digest: str) -> Quality:
    """A measurement of the image with this digest. Raises HardcastError for another image's."""
    quality = read_quality(path)
    if not digest:
        raise HardcastError(f"{path} is of an image; a shape has no weights to be measured")
    if quality.digest != digest:
        raise HardcastError(
            f"{path} is of another image: its digest begins {quality.digest[:16]:.16}, "
            f"this one's {digest[:16]}"
        )
    return quality


def command(args: argparse.Namespace) -> str:
    """The command line that makes the page again, by the options' full names."""
    words = ["hardcast", "report", args.model]
    for name in SAID:
        value = getattr(args, name.replace("-", "_"))
        if value is not None and value != SILENT.get(name):
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{name}", str(one)]
    return shlex.join([*words, "-o", args.output.name])


def share(text: str) -> float:
    """Parser of a share, above 0 to 1."""
    value = positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0, at most 1; found {text:.40}")
    return value


def day(text: str) -> str:
    """Parser of a date."""
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a date as 2026-01-31; found {text:.40}"
        ) from None


def today() -> str:
    """SOURCE_DATE_EPOCH's day, so that a build can be repeated; without it today's, UTC."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise HardcastError(
            f"SOURCE_DATE_EPOCH is {epoch!r:.40}, expected seconds since 1970"
        ) from None
