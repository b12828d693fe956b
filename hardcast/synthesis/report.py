"""The figures of a synthesised block by name: for --json, and for the chip room's files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hardcast import __version__
from hardcast.chip.measured import Measurement, Quantity
from hardcast.synthesis.synthesize import Result

KIND = "synthesised, TT, not placed or routed"


def figures(result: Result) -> dict[str, tuple[float, str]]:
    """Name -> (value, unit) of everything measured. docs/synthesis.md says what each is."""
    found: dict[str, tuple[float, str]] = {
        "clock_ps": (result.clock_ps, "ps"),
        "area_um2": (result.area_um2, "um2"),
        "cells": (result.cells, "1"),
        "flip_flops": (result.flip_flops, "1"),
        "flip_flop_area_um2": (result.flip_flop_area_um2, "um2"),
        "clock_gates": (result.clock_gates, "1"),
        "critical_path_ps": (result.critical_path_ps, "ps"),
        "own_path_ps": (result.own_path_ps, "ps"),
        "wired_path_ps": (result.wired_path_ps, "ps"),
        "abc_ps": (result.abc_ps, "ps"),
        "fmax_ghz": (result.fmax_ghz, "GHz"),
        "leakage_nw": (result.leakage_nw, "nW"),
        "ops_per_cycle": (result.ops, "1"),
    }
    spent, wired = result.energy, result.energy_wired
    if spent is not None and wired is not None:
        found |= {
            "energy_fj_per_op": (spent.total / result.ops, "fJ"),
            "energy_settled_fj_per_op": (spent.settled / result.ops, "fJ"),
            "energy_wired_fj_per_op": (wired.total / result.ops, "fJ"),
            "energy_logic_fj": (spent.logic, "fJ"),
            "energy_flip_flops_fj": (spent.flip_flops, "fJ"),
            "energy_clock_fj": (spent.clock, "fJ"),
        }
    return found


def limit(result: Result) -> str:
    """Between which registers the longest path lies, and how many cells it passes."""
    route = result.routes[0]
    return f"{route.start} -> {route.end} ({route.stages} cells)"


def to_json(result: Result) -> dict[str, Any]:
    """One block, for --json: every figure under its name; routes that miss the clock."""
    values: dict[str, Any] = {name: value for name, (value, _) in figures(result).items()}
    values.setdefault("energy_fj_per_op", None)
    missed = [vars(route) for route in result.routes if route.ps > result.clock_ps]
    return {
        "block": result.block.name,
        "options": result.used,
        "library": result.library.name,
        **values,
        "meets": result.meets,
        "limit": limit(result),
        "missed": missed,
        "source": result.source,
    }


def measurement(result: Result) -> Measurement:
    """One block, for hardcast/chip/measured."""
    day = datetime.now(UTC).date().isoformat()
    return Measurement(
        block=result.block.name,
        options=result.used,
        kind=KIND,
        source=f"{result.source}; hardcast {__version__}, {day}",
        limit=limit(result),
        quantities={n: Quantity(v, unit) for n, (v, unit) in figures(result).items()},
    )
