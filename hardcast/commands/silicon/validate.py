"""The model held against published chips with one set of figures: residuals, pass or fail.

Taalas HC1, ROMA, HNLPU and the H100's rooflines. A check passes within the tolerance that
economics/anchors/checks.toml states beforehand: 25 % on areas and tokens/s, twice on power and
money. A miss says which single assumption would explain it, and the value it would need.

Example:
  hardcast validate
  hardcast validate --anchor roma --json
"""

from __future__ import annotations

import argparse
from typing import Any

from hardcast.console import Console, table
from hardcast.economics.validate import Residual, anchor_names, validate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--anchor", choices=anchor_names(), metavar="A", help=f"one of {', '.join(anchor_names())}"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    with console.progress() as progress:
        found = validate(progress, args.anchor)
    console.print(text(found))
    return {
        "list": [entry(r) for r in found],
        "passed": sum(r.passes for r in found),
        "failed": sum(not r.passes for r in found),
    }


def entry(r: Residual) -> dict[str, Any]:
    """A residual as --json gives it."""
    return {
        "anchor": r.anchor,
        "quantity": r.quantity,
        "at": r.place or None,
        "unit": r.unit,
        "published": r.published,
        "ours": r.ours,
        "ratio": r.ratio,
        "within": r.within,
        "bound": r.bound,
        "pass": r.passes,
        "kind": r.kind,
        "source": r.source,
        "needs": str(r.remedy) if r.remedy else None,
    }


def text(found: list[Residual]) -> str:
    """The table, and a line for each miss."""
    rows = []
    for r in found:
        name = f"{r.quantity} at {r.place}" if r.place else r.quantity
        values = [f"{v:,.4g}" if v < 1e6 else f"{v:.3g}" for v in (r.published, r.ours)]
        verdict = ["MISS", "pass"][r.passes]
        ratio = [f"{r.ratio:.2f}", ("bound " if r.bound else "") + f"{r.within:g}"]
        rows.append([r.anchor, name, r.unit, *values, *ratio, verdict, r.kind])
    head = ["anchor", "quantity", "unit", "published", "ours", "ratio", "within", "", "kind"]
    lines = [table(head, rows), ""]
    for r in found:
        if not r.passes:
            name = f"{r.anchor} {r.quantity}" + (f" at {r.place}" if r.place else "")
            lines.append(f"{name}: {r.remedy or 'no single figure explains it'}")
            if r.note:
                lines.append(f"    of the published figure: {r.note}")
    passed = sum(r.passes for r in found)
    lines.append(f"\n{passed} of {len(found)} pass")
    return "\n".join(lines)
