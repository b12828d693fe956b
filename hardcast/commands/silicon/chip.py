"""The chip as numbers: area, clock, tokens/s, power and energy on a node, each with its band.

Cycles are the RTL's own (`hardcast simulate` holds them together); areas and energies are what
synthesis measured, scaled to the node; every other figure is data with a source (--assumptions
lists what was read). Bands are the 10th and 90th percentile over all figures' bands. A model that
does not fit a die is divided over several. A shape needs no weights: its matrices are taken to
have the codes of the recipe.

Example:
  hardcast chip llama-3.1-8b --node n6
  hardcast chip llama-3.1-70b --users 4 --context 4096
  hardcast chip smollm2.image --node sg13g2 --json
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from hardcast.chip.estimate import Estimate, estimate
from hardcast.commands._parameters import positive, whole
from hardcast.commands.silicon._cast import Cast, add_cast, cast_of, check_position
from hardcast.console import Console, table
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.uncertainty import (
    SAMPLES,
    SEED,
    Band,
    Swing,
    bands,
    tornado,
)

DEFAULT_POSITIONS = (0, 128, 1023, 8191)
HEADLINES = {  # key of --json: what it is, its unit, and a format
    "area_mm2": ("silicon, all dies", "mm2", ",.0f"),
    "die_mm2": ("a die", "mm2", ",.0f"),
    "transistors_1e9": ("transistors", "1e9", ",.1f"),
    "clock_ghz": ("clock", "GHz", ".3f"),
    "tokens_s_user": ("tokens/s of one user", "", ",.0f"),
    "tokens_s": ("tokens/s of all users", "", ",.0f"),
    "tokens_s_die": ("tokens/s a die", "", ",.0f"),
    "power_w": ("power of the dies", "W", ",.1f"),
    "card_w": ("with regulators and card", "W", ",.1f"),
    "mj_per_token": ("energy a token", "mJ", ",.3f"),
    "watt_per_mm2": ("power density", "W/mm2", ".3f"),
}

TORNADO = ("area_mm2", "tokens_s_user", "power_w")
MOST_SWINGS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cast(parser)
    parser.add_argument(
        "--position", type=whole(0), metavar="N", help="of the token (default: several)"
    )
    parser.add_argument(
        "--clock-ghz", type=positive, metavar="F", help="a clock to assume (default: the node's)"
    )
    parser.add_argument(
        "--tornado", action="store_true", help="what decides each headline, a figure at a time"
    )
    parser.add_argument(
        "--assumptions", action="store_true", help="list every figure that was read"
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    cast = cast_of(args)
    context = cast.design.chip.context
    if args.position is not None:
        check_position(args.position, context)
    positions = [args.position] if args.position is not None else list(DEFAULT_POSITIONS)
    positions = [p for p in positions if p < context]
    last = positions[-1]

    def answer(a: Assumptions) -> dict[str, Real]:
        return headlines(estimate(cast.design, a, last, args.clock_ghz))

    found = bands(answer, cast.assumptions)
    over = over_reticle_share(cast, last)
    estimates = [estimate(cast.design, cast.assumptions, p, args.clock_ghz) for p in positions]
    console.print(heading(cast, estimates[-1]))
    console.print()
    console.print(headline_table(found))
    if over:
        console.print(f"\na die is over the reticle in {over:.0%} of the samples")
    console.print()
    console.print(position_table(estimates))
    console.print()
    console.print(group_table(estimates[-1]))
    swings = tornado(answer, cast.assumptions) if args.tornado else {}
    if args.tornado:
        console.print()
        console.print(tornado_table(swings, cast.assumptions))
    read = sorted(cast.assumptions.read)
    if args.assumptions:
        console.print()
        console.print(assumption_table(cast.assumptions, read))
    return {
        "model": cast.subject.name,
        "digest": cast.subject.digest or None,
        "node": estimates[-1].node,
        "preset": cast.preset.chip.name,
        "recipe": cast.subject.recipe,
        "parameters": cast.design.chip.to_json(),
        "dies": cast.design.dies,
        "stages": cast.design.stages,
        "pieces": cast.design.pieces,
        "over_reticle": estimates[-1].over_reticle,
        "over_reticle_share": over,
        "position": last,
        **{name: band.to_json() for name, band in found.items()},
        "clock_limit": estimates[-1].clock_limit,
        "points": [point(e) for e in estimates],
        "groups": {
            name: {
                "area_mm2": float(group.area_mm2),
                "power_w": float(estimates[-1].power_by.get(name, 0.0)),
                "leakage_w": float(group.leakage_w),
            }
            for name, group in estimates[-1].groups.items()
        },
        "tornado": {
            name: [{"figure": s.figure, "at_low": s.at_low, "at_high": s.at_high} for s in found]
            for name, found in swings.items()
        },
        "assumptions": {name: cast.assumptions.figures[name].to_json() for name in read},
    }


def over_reticle_share(cast: Cast, position: int) -> float:
    """In how many of the samples a die is larger than the reticle allows, of 1."""
    drawn = cast.assumptions.sampled(SAMPLES, SEED)
    reticle = drawn["node.reticle_width"] * drawn["node.reticle_height"]
    return float(np.mean(estimate(cast.design, drawn, position).die_mm2 > reticle))


def headlines(e: Estimate) -> dict[str, Real]:
    """The figures that get a band, by their keys in --json."""
    return {
        name: e.transistors / 1e9 if name == "transistors_1e9" else getattr(e, name)
        for name in HEADLINES
    }


def point(e: Estimate) -> dict[str, Any]:
    """Figures of a token at one position, every user at it."""
    parts, total = e.cycles.by_kind, e.cycles.total
    other = parts["vector"] + parts["sample"] + total - sum(parts.values())
    return {
        "position": e.position,
        "cycles": total,
        "by_kind": parts,
        "tokens_s_user": float(e.tokens_s_user),
        "power_w": float(e.power_w),
        "mj_per_token": float(e.mj_per_token),
        "share": {
            "matvec": (parts["matvec"] - e.cycles.wires) / total,
            "attention": parts["attend"] / total,
            "vector": other / total,
            "wires": e.cycles.wires / total,
        },
    }


def heading(cast: Cast, e: Estimate) -> str:
    """What is counted, on what, and on how many dies."""
    chip, design, a = cast.design.chip, cast.design, cast.assumptions
    users = f"{chip.users} user{'s' if chip.users > 1 else ''}"
    lines = [
        f"{cast.subject.name} ({cast.subject.recipe}) on {chip.name} in {a.texts['node.title']}",
        f"{design.tiles:,} tiles of {chip.rows} x {chip.columns} lanes, {chip.bits} bits; {users}, "
        f"{chip.positions} KV positions a cycle, context {chip.context:,}",
        f"clock {float(e.clock_ghz):.3f} GHz, limited by {e.clock_limit}"
        if e.clock_limit != "given"
        else f"clock {float(e.clock_ghz):g} GHz, as asked",
    ]
    reticle = a["node.reticle_width"] * a["node.reticle_height"]
    if e.over_reticle:
        lines.append(f"a die is larger than the reticle ({reticle:.0f} mm2): it cannot be made")
    if design.dies > 1:
        how = f"{design.stages} in a row"
        if design.pieces > 1:
            how += f", each cut into {design.pieces}"
        if cast.fitted:
            one = float(estimate(cast.asked, a, 0).die_mm2)
            lines.append(
                f"one die would be {one:,.0f} mm2, over the reticle ({reticle:.0f}): "
                f"{design.dies} dies instead ({how})"
            )
        else:
            lines.append(f"{design.dies} dies ({how}), as asked")
    return "\n".join(lines)


def headline_table(found: dict[str, Band]) -> str:
    """Every headline at the figures' points, and its percentiles."""
    rows = []
    for name, (what, unit, form) in HEADLINES.items():
        band = found[name]
        values = (band.point, band.low, band.median, band.high)
        rows.append([what, *(format(value, form) for value in values), unit])
    return table(["", "point", "10 %", "50 %", "90 %", ""], rows)


def position_table(estimates: list[Estimate]) -> str:
    """Speed and energy against the position, and where the time goes."""
    header = ["position", "cycles", "tokens/s a user", "W", "mJ a token"]
    header += ["matrices", "attention", "vectors", "wires"]
    rows = []
    for e in estimates:
        p = point(e)
        shares = [f"{p['share'][k]:.1%}" for k in ("matvec", "attention", "vector", "wires")]
        figures = [f"{p['tokens_s_user']:,.0f}", f"{p['power_w']:.1f}", f"{p['mj_per_token']:.3f}"]
        rows.append([str(p["position"]), f"{p['cycles']:,}", *figures, *shares])
    return table(header, rows)


def group_table(e: Estimate) -> str:
    """Area and power of each part of the chip, at the points."""
    rows = []
    for name, group in e.groups.items():
        area, power = float(group.area_mm2), float(e.power_by.get(name, 0.0))
        share = area / float(e.area_mm2)
        watts = [f"{power:,.2f}", f"{group.leakage_w:,.2f}"]
        rows.append([name, f"{area:,.2f}", f"{share:.1%}", *watts])
    rows.append(
        ["links and ports", "0.00", "0.0%", f"{e.power_by['links and ports']:,.2f}", "0.00"]
    )
    return table(["part", "mm2", "share", "W dynamic", "W leakage"], rows)


def tornado_table(swings: dict[str, list[Swing]], a: Assumptions) -> str:
    """The figures that move area, speed and power most, each at its own 10 % and 90 %."""
    rows = []
    for name in TORNADO:
        what, unit, form = HEADLINES[name]
        for swing in swings[name][:MOST_SWINGS]:
            ends = (format(swing.at_low, form), format(swing.at_high, form))
            rows.append([what, swing.figure, *ends, unit, a.figures[swing.figure].kind])
    return table(["", "decided by", "at its 10 %", "at its 90 %", "", "kind"], rows)


def assumption_table(a: Assumptions, names: list[str]) -> str:
    """Every figure that was read: value, band, kind, source."""
    rows = []
    for name in names:
        figure = a.figures[name]

        def said(values: tuple[float, ...]) -> str:
            return " ".join(f"{value:g}" for value in values)

        band = "" if figure.is_certain else f"{said(figure.low)} .. {said(figure.high)}"
        rows.append([name, said(figure.value), figure.unit, band, figure.kind, figure.source])
    return table(["figure", "value", "unit", "band", "kind", "source"], rows)
