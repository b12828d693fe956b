"""How the model lies on the chip: matrices and their bits, the program, the ROM's use."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hardcast.chip.subject import Form
from hardcast.image.matrix import GROUP_BITS, OFFSET_BITS, ROW_BITS
from hardcast.report import charts
from hardcast.report.form import number, percent
from hardcast.report.plot import Plot, Table, draw
from hardcast.report.study import Study

LAYER = re.compile(r"layers\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Stored:
    """A matrix in ROM. layer: None for those outside of the layers."""

    name: str
    role: str
    layer: int | None
    rows: int
    columns: int
    form: Form
    rom_bits: int

    @property
    def code_bits(self) -> int:
        """Bits of code a weight."""
        return self.form.bits * self.form.planes


def section(study: Study) -> dict[str, Any]:
    """Matrices alike together, a map of bits, words of the program, and what the ROM holds."""
    stored = matrices(study)
    total = sum(matrix.rom_bits for matrix in stored)
    design, subject = study.case.design, study.case.subject
    rom = design.rom
    capacity = (rom.tiles_bits + rom.embedding_bits + rom.row_bits) * design.stages
    kinds = Counter(type(step).__name__ for step in subject.program.steps)
    return {
        "rows": alike(stored, total),
        "plot": bits_map(stored),
        "steps": kinds.most_common(),
        "step_count": f"{len(subject.program.steps):,}",
        "cycles": f"{study.estimate.cycles.total:,}",
        "total_bits": number(total / 1e9),
        "bits_a_weight": f"{total / subject.parameters:.2f}",
        "capacity_bits": number(capacity / 1e9),
        "used": percent(total / capacity),
        "word_bits": design.word_bits,
        "depth": f"{design.depth:,}",
        "tiles": f"{design.tiles:,}",
        "stages": design.stages,
        "widths": widths(study),
    }


def matrices(study: Study) -> list[Stored]:
    """Every matrix of the program, with what the image says it takes, or its recipe."""
    case = study.case
    image = case.image.matrices if case.image else {}
    found = []
    for name, (rows, columns) in case.subject.program.matrices().items():
        form = case.subject.forms[name]
        bits = image[name]["rom_bits"] if image else rom_bits(rows, columns, form)
        layer = LAYER.fullmatch(name)
        role = layer[2] if layer else name
        found.append(
            Stored(name, role, int(layer[1]) if layer else None, rows, columns, form, bits)
        )
    return found


def rom_bits(rows: int, columns: int, form: Form) -> int:
    """As image.matrix.Matrix.rom_bits, of a matrix that is not there yet."""
    groups = -(-columns // (form.group_size or columns))
    field = GROUP_BITS + (OFFSET_BITS if form.offsets else 0)
    return rows * (columns * form.bits * form.planes + groups * field + ROW_BITS)


def alike(stored: list[Stored], total: int) -> list[list[str]]:
    """A row for all matrices of one role and form."""
    groups: dict[tuple[Any, ...], list[Stored]] = {}
    for matrix in stored:
        groups.setdefault((matrix.role, matrix.rows, matrix.columns, matrix.form), []).append(
            matrix
        )
    rows = []
    for (role, out, inputs, form), members in groups.items():
        bits = sum(matrix.rom_bits for matrix in members)
        planes = f"{form.bits}" if form.planes == 1 else f"{form.planes} × {form.bits}"
        rows.append(
            [
                role,
                f"{len(members):,}",
                f"{out:,} × {inputs:,}",
                planes,
                f"{form.group_size or inputs}",
                f"{bits / (out * inputs * len(members)):.2f}",
                number(bits / 1e6),
                percent(bits / total),
            ]
        )
    return rows


def bits_map(stored: list[Stored]) -> Plot | None:
    """Bits of code a weight, of every matrix of every layer; None without layers."""
    inside = [matrix for matrix in stored if matrix.layer is not None]
    if not inside:
        return None
    rows = [
        {
            "x": matrix.layer,
            "name": matrix.role,
            "value": matrix.code_bits,
            "tip": f"layer {matrix.layer}, {matrix.role}: {matrix.code_bits} bits",
        }
        for matrix in inside
    ]
    steps = sorted({matrix.code_bits for matrix in inside})
    roles = list(dict.fromkeys(matrix.role for matrix in inside))
    layers = sorted({matrix.layer for matrix in inside if matrix.layer is not None})
    by_place = {(m.layer, m.role): m.code_bits for m in inside}
    table = Table(
        ["layer", *roles],
        [
            [f"{i}", *(f"{by_place[i, r]}" if (i, r) in by_place else "" for r in roles)]
            for i in layers
        ],
    )
    levels = " and ".join(f"{step}" for step in steps)
    return draw(
        "bits",
        f"Bits of code a weight, by layer and matrix: {levels}.",
        f"Map of {len(roles)} matrices in {len(layers)} layers, each with {levels} bits a weight",
        charts.heat(rows, "layer"),
        table,
    )


def widths(study: Study) -> list[tuple[str, str]]:
    """Widths that the image's bounds prove, of all layers the widest; [] for a shape."""
    image = study.case.image
    if image is None:
        return []
    found: dict[str, int] = {}
    for name, bits in image.chip["widths"].items():
        if isinstance(bits, int):
            of = re.sub(r"layers\.\d+\.", "", name).replace(".", " of ")
            found[of] = max(bits, found.get(of, 0))
    return [(name, f"{bits}") for name, bits in found.items()]
