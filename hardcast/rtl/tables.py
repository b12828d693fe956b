"""The lookup tables as a SystemVerilog package: the same integers that golden reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardcast.numerics import tables

PACKAGE = "hc_tables_pkg"
A_LINE = 8  # entries a line of text
EXP2_WIDTH, BASE_WIDTH, STEP_WIDTH = 12, 24, 17  # bits an entry
RSQRT_WIDTH, SIGMOID_WIDTH = 17, 13


def tables_package(gate: str = "sigmoid") -> str:
    """The text of hc_tables_pkg.sv: one packed constant a table, entry i at [i].

    gate: the table of the chip's gates, beside those that every chip has.
    A table with linear interpolation is two: BASE[i] = T[i] and STEP[i] = T[i+1] - T[i], so that
    one read gives both ends of an interval. Raises ValueError where an entry exceeds its width.
    """
    constants = [
        _constant("EXP2", "X of 2^-x", tables.exp2_table(), EXP2_WIDTH),
        _constant("RSQRT", "1 / sqrt of 1..4", tables.rsqrt_table(), RSQRT_WIDTH),
        _constant("RECIPROCAL", "1 / Z", tables.reciprocal_table(), RSQRT_WIDTH),
        _constant("SIGMOID", "sigmoid of 0..8", tables.sigmoid_table(), SIGMOID_WIDTH),
    ]
    if gate == "gelu_tanh":
        table = tables.gelu_tanh_table()
        constants.append(_constant("GELU_TANH", "GELU(x) / x of 0..4", table, SIGMOID_WIDTH))
    for name, what, table in (
        ("LOG2", "log2(1 + x), x in [0, 1)", tables.log2_table()),
        ("TAIL", "log2(-log2(1 - v) / v), v in [0, 1/2)", tables.tail_table()),
    ):
        constants.append(_constant(f"{name}_BASE", f"{what}: left ends", table[:-1], BASE_WIDTH))
        constants.append(_constant(f"{name}_STEP", f"{what}: rises", np.diff(table), STEP_WIDTH))
    return (
        "// Written by hardcast/rtl/tables.py from hardcast/numerics/tables.py: do not edit.\n"
        "/* verilator lint_off UNUSEDPARAM */  // not every design reads every table\n"
        f"package {PACKAGE};\n" + "".join(constants) + f"endpackage : {PACKAGE}\n"
        "/* verilator lint_on UNUSEDPARAM */\n"
    )


def _constant(name: str, comment: str, values: Sequence[int] | np.ndarray, width: int) -> str:
    """One localparam; a packed array's literal starts with its highest index."""
    entries = [int(value) for value in values]
    for index, value in enumerate(entries):
        if not 0 <= value < 1 << width:
            raise ValueError(f"{name}[{index}] = {value} does not fit {width} bits")
    digits = -(-width // 4)
    words = [f"{width}'h{value:0{digits}x}" for value in reversed(entries)]
    lines = [", ".join(words[i : i + A_LINE]) for i in range(0, len(words), A_LINE)]
    body = ",\n    ".join(lines)
    shape = f"[{len(entries) - 1}:0][{width - 1}:0]"
    return f"  // {comment}.\n  localparam logic {shape} {name} = {{\n    {body}\n  }};\n"
