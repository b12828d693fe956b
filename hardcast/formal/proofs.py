"""What is proved about the RTL: the list for formal.py, by name."""

from __future__ import annotations

from typing import Any

from hardcast.formal.formal import Proof
from hardcast.synthesis.blocks import LINEAR, Options

EVEN = tuple(range(16))
UNEVEN_3 = (-8, -5, -3, -1, 1, 3, 5, 8)
UNEVEN_4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
BOOKS = {2: ((0, 1, 2, 3), (-5, -1, 2, 7)), 3: (UNEVEN_3,), 4: (EVEN, UNEVEN_4)}
TILE = ("hc_tile", "hc_delay")


def _tile(name: str, what: str, columns: int, rows: int, bits: int = 2, **more: Any) -> Proof:
    """A proof of a tile of fewer lanes than the 64 of a block; the others do the same."""
    groups = 64 // more.get("group", 64)
    constants = {
        "K": columns,
        "R": rows,
        "ROM_W": 64 * bits + (24 if more.get("asymmetric") else 8) * groups,
    }
    options = Options(bits=bits, recipe=LINEAR, columns=8)
    more = {"codebooks": BOOKS[bits], "modules": TILE, "options": options, **more}
    return Proof(name, what, constants=constants, **more)


def _lanes() -> list[Proof]:
    proofs = []
    for bits, columns in ((2, 1), (2, 4), (3, 1), (3, 2), (3, 8), (4, 1), (4, 4), (4, 8)):
        for part, what in (
            (0, "every multiple that a code selects is its weight times the activation"),
            (1, "so a row's sum of selected multiples is its sum of products"),
        ):
            proofs.append(
                _tile(
                    f"lane {part}: {bits} bits, {columns} columns",
                    what,
                    columns,
                    2,
                    bits,
                    top="f_lane",
                    steps=2 + part,
                    parameters={"PART": part},
                    select=True,
                    cut=part == 1,
                    slow=part == 0 and (bits, columns) not in ((2, 1), (3, 1)) or columns == 8,
                )
            )
    return proofs


def _tiles() -> list[Proof]:
    sweep = "a unit's sums, scales, offsets and shift reach the scale unit row by row"
    scale = "y = (sum s_g S_g + m_g X_g) << shift modulo 2^ACC_W, at full width"
    proofs = []
    for group, asymmetric in ((64, False), (32, True)):
        kind = f"group {group}{', offsets' if asymmetric else ''}"
        for rows in (2, 4):
            proofs.append(
                _tile(
                    f"tile sweep: {kind}, {rows} rows",
                    sweep,
                    4 // rows,
                    rows,
                    top="f_tile",
                    steps=2 * rows + 2,
                    parameters={"PART": 0},
                    group=group,
                    asymmetric=asymmetric,
                    cut=True,
                    slow=rows > 2 or asymmetric,
                )
            )
        proofs.append(
            _tile(
                f"tile scale: {kind}",
                scale,
                1,
                2,
                4,
                top="f_tile",
                steps=4,
                parameters={"PART": 1},
                group=group,
                asymmetric=asymmetric,
                cut=True,
            )
        )
    return proofs


def _pipelines() -> list[Proof]:
    proofs = []
    for cycles, reset in ((0, 0), (1, 0), (5, 0), (5, 1)):
        proofs.append(
            Proof(
                f"delay: {cycles} cycles{', reset' if reset else ''}",
                "hc_delay is a pure delay",
                "f_delay",
                ("hc_delay",),
                cycles + 1,
                {"N": cycles, "RESET": reset},
            )
        )
    for count, radix, latency, deep in (
        (1, 4, 0, 0), (2, 2, 1, 1), (5, 4, 2, 3), (7, 2, 3, 3), (17, 4, 3, 5),
    ):  # fmt: skip
        proofs.append(
            Proof(
                f"sum: {count} by {radix}",
                "hc_sum is a plain sum of what came with en, hc_max the largest",
                "f_sum",
                ("hc_sum", "hc_max"),
                max(latency, deep) + 1,
                {"N": count, "RADIX": radix, "LATENCY": latency, "DEEP": deep},
            )
        )
    return proofs


def _roundings() -> list[Proof]:
    proofs = []
    for part, steps, what in (
        (0, 8, "drop and k are golden's, clamped as golden clamps them"),
        (1, 3, "acc is rounded as golden's rs"),
        (2, 4, "v is rounded as golden's rescale, then saturated"),
        (3, 3, "bias and residual are added and saturated to int32"),
    ):
        proofs.append(
            Proof(
                f"rows {part}",
                what,
                "f_rows",
                ("hc_rows", "hc_delay"),
                steps,
                {"PART": part},
                constants={"ACC_W": 63},
            )
        )
    for name, parameters, slow in (
        ("12 bits", {}, False),
        ("2 words, 12 bits", {"WPB": 2}, True),
        ("3 words of 2 blocks, 12 bits", {"TR": 2, "SEG": 1, "WPB": 3}, True),
        ("for the slices", {"W": 38, "MAG": 37, "CODE_W": 16}, True),
        ("for heads", {"W": 35, "MAG": 22}, False),
    ):
        proofs.append(
            Proof(
                f"quant: {name}",
                "codes and exponents are those of golden's quantize_blocks",
                "f_quant",
                ("hc_quant", "hc_delay"),
                2 * parameters.get("WPB", 1) + 5,
                parameters,
                slow=slow,
            )
        )
    return proofs


def _control() -> list[Proof]:
    proofs = []
    for users in (1, 2):
        for part, what in (
            (0, "a request, a response, which stands until it is taken"),
            (1, "a write writes, a run runs once, a refused request changes no register"),
            (2, "given that, a read finds what was written"),
        ):
            proofs.append(
                Proof(
                    f"host {part}: {users} users",
                    what,
                    "f_host",
                    ("hc_host", "hc_rom"),
                    0,
                    {"PART": part},
                    options=Options(bits=2, recipe=LINEAR, users=users),
                    slow=users > 1,
                )
            )
    for columns, lanes, users in ((8, 1, 1), (32, 32, 2)):
        proofs.append(
            Proof(
                f"sequencer: {columns} columns, {lanes} lanes, {users} users",
                "counters stay in range, a matrix's steps only go up, one finish a start",
                "f_seq",
                ("hc_seq",),
                0,
                options=Options(
                    bits=2, recipe=LINEAR, columns=columns, lanes=lanes, users=users, context=64
                ),
            )
        )
    return proofs


PROOFS: dict[str, Proof] = {
    proof.name: proof for proof in (*_lanes(), *_tiles(), *_pipelines(), *_roundings(), *_control())
}
