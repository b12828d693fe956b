"""A model on a chip: its memories are the RTL's own, and dies share them out."""

from __future__ import annotations

import dataclasses
import re
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.chip import blocks
from hardcast.chip.blocks import Memory, column_bits, parts
from hardcast.chip.design import ROW_BITS, Design, largest_part
from hardcast.chip.parameters import Chip
from hardcast.chip.subject import Form, open_subject
from hardcast.errors import HardcastError
from hardcast.rtl import emit
from hardcast.rtl.package import PROGRAM_BITS, package
from tests.agreement.rtl_draws import Case, cases
from tests.chip.drawn import HC1, designs, hc1, subject_of
from tests.random_image import config

SLOW: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def constants(made: emit.Design) -> dict[str, int]:
    """The whole numbers of hardcast_pkg.sv."""
    text = package(made.geometry, made.contents)
    return {k: int(v) for k, v in re.findall(r"localparam int (\w+) = (-?\d+);", text)}


def memory(design: Design, name: str) -> Memory:
    """The memory of a part."""
    found = next(part.memory for part in parts(design, "asap7", 0) if part.name == name)
    assert found is not None
    return found


@given(case=cases())
@settings(max_examples=25, **SLOW)
def test_the_depths_are_those_of_the_rtl(case: Case) -> None:
    with TemporaryDirectory() as folder:
        image = case.write(Path(folder) / "drawn.image")
        rtl = constants(made := emit.design(image, case.chip))
        design = Design(open_subject(str(image.path)), case.chip)
        rom_bits = {name: image.matrix(name).rom_bits for name in image.matrices}
    chip, swept = case.chip, {name for name, _ in made.places.matrices}
    assert design.word_bits == rtl["ROM_W"]
    assert design.depth == rtl["ROM_D"]
    assert design.rom.tiles_bits == design.tiles * rtl["ROM_W"] * rtl["ROM_D"]
    assert (ROW_BITS, design.row_words) == (rtl["ROWROM_W"], rtl["ROW_D"])
    assert design.rom.row_bits == chip.tile_rows * rtl["ROWROM_W"] * rtl["ROW_D"]
    assert design.gain_words == rtl["GAIN_D"]
    assert design.bias_words == made.contents.depths["bias"]
    assert design.code_bits == rtl["XW"]
    assert len(design.subject.ops) == rtl["PROG_D"]
    # What the tiles hold is at least what the image's matrices have, the head counted once more
    # where it is the embedding too; its multipliers lie in the rows' ROM, in 16 bits instead of 24.
    rows = sum(design.subject.program.matrices()[name][0] for name in swept)
    image_bits = sum(rom_bits[name] for name in swept) - 24 * rows
    assert design.rom.tiles_bits >= image_bits
    assert design.rom.row_bits >= ROW_BITS * rows
    assert design.kv_depth == rtl["KV_D"]
    word = 8 * rtl["HD"] + 4
    assert design.kv_bits == 2 * rtl["P"] * rtl["NKV"] * rtl["KV_D"] * word * rtl["U"]


@given(case=cases())
@settings(max_examples=15, **SLOW)
def test_the_widths_that_parts_have_are_those_of_the_rtl(case: Case) -> None:
    with TemporaryDirectory() as folder:
        image = case.write(Path(folder) / "drawn.image")
        rtl, widths = constants(emit.design(image, case.chip)), image.chip["widths"]
        subject = open_subject(str(image.path))
    # Parts are priced from measured tiles, which not every drawn recipe has.
    forms = {name: Form(4, form.planes, 64, False) for name, form in subject.forms.items()}
    plain = dataclasses.replace(subject, forms=forms)
    chip = dataclasses.replace(case.chip, columns=8, bits=4)
    design = Design(plain, chip)
    slices = memory(design, "slice SRAM")
    assert slices.words == rtl["SLICE_D"]
    assert slices.bits == rtl["C"] * rtl["SLICE_D"] * (64 * rtl["XW"] + 5) * rtl["U"]
    scores = memory(design, "score SRAM")
    assert scores.words == rtl["FOLD"] * rtl["CHUNKS"]
    seats = rtl["NKV"] * rtl["P"] * scores.words * rtl["U"]
    assert scores.bits == rtl["SCORE_W"] * seats
    assert blocks.mix_bits(Design(subject, case.chip)) == rtl["MIX_W"]
    assert blocks.PROGRAM_BITS == PROGRAM_BITS
    sums = [bits for name, bits in widths.items() if name.startswith("accumulator.")]
    assert rtl["ACC_W"] == min(emit.round_up(max(blocks.ACC_BITS, *sums), 4), 63)
    assert blocks.GAIN_BITS <= rtl["GAIN_W"]
    real = column_bits(Design(subject, case.chip))
    sums = rtl["G"] * rtl["XSUM_W"]
    assert rtl["K"] * 8 + 6 + sums <= real <= rtl["K"] * 8 + 6 + sums + rtl["G"]
    spine = memory(design, "spine SRAM")
    words = rtl["XWORDS"] + rtl["QKV_WORDS"] + 2 * rtl["F_WORDS"]
    assert (
        spine.bits
        <= 32 * rtl["TR"] * words * rtl["U"]
        < spine.bits + 32 * rtl["TR"] * (3 + 3 * rtl["WPBH"] * 2) * rtl["U"]
    )


def test_hc1_by_hand() -> None:
    design = hc1()
    assert design.tiles == 8192
    assert design.word_bits == 64 * 3 + 2 * 8
    # A sweep of a layer: rounds of 8 x 128 rows, planes, passes over 64 slices of 64, 8 cycles.
    layer = (4 * 1 + 1 * 2 + 1 * 2) * 1 * 8 + 4 * 2 * 8 + 2 * 14 * 8 + 4 * 2 * 4 * 8
    head = 126 * 2 * 8
    assert design.depth == 32 * layer + head
    assert design.issued["MATVEC"] == 32 * layer + 2 * head  # 10-bit activations: read twice
    assert design.rom.embedding_bits == 128256 * (4096 * 6 + 64 * 8 + 16)
    assert design.kv_bits == 32 * 1024 * 8 * 2 * (128 * 8 + 4)
    assert design.row_values == (32 * (4096 + 2 * 1024 + 4096 + 2 * 14336 + 4096) + 128256)


def test_users_and_groups_under_way_each_have_kv_memory() -> None:
    one, many = hc1(), hc1(users=3)
    assert many.kv_bits == 3 * one.kv_bits
    # Four stages hold a quarter of the layers each, for four groups: all that one die held.
    assert hc1(stages=4).kv_bits == one.kv_bits
    assert hc1(stages=5).stage_layers == 7


def test_adapters_have_two_sides_of_every_matrix_of_the_layers() -> None:
    design = dataclasses.replace(hc1(), lora_rank=16)
    sides = 2 * 4096 + 2 * (4096 + 1024) + 2 * 4096 + 3 * (4096 + 14336)
    assert design.lora_bits == 32 * sides * 16 * 8
    assert dataclasses.replace(design, stages=2).lora_bits == 16 * sides * 16 * 8
    assert hc1().lora_bits == 0


@given(design=designs())
@settings(max_examples=60, **SLOW)
def test_stages_hold_the_whole_model_between_them(design: Design) -> None:
    whole = design.divided(1, 1).rom
    stages = design.stages
    layers = design.subject.program.shape.num_hidden_layers
    mine = design.rom
    assert mine.tiles_bits + mine.embedding_bits <= whole.tiles_bits + whole.embedding_bits + (
        layers * design.tiles * design.word_bits  # layers may be rounded up to a word each
    )
    assert stages * (mine.tiles_bits + mine.embedding_bits + 1) >= (
        whole.tiles_bits + whole.embedding_bits
    )
    assert stages * mine.row_bits >= whole.row_bits
    assert design.depth * stages >= whole.tiles_bits // (design.tiles * design.word_bits) - stages
    assert stages * design.kv_bits >= stages * design.divided(1, 1).kv_bits
    assert design.largest_piece * design.pieces >= 1


@given(design=designs())
@settings(max_examples=40, **SLOW)
def test_a_divided_design_is_what_a_new_one_would_be(design: Design) -> None:
    one = Design(design.subject, design.chip, 1, 1, design.lora_rank)
    assert one.rom and one.issued and one.exchanges  # some are kept, some must be counted anew
    divided = one.divided(design.stages, design.pieces)
    assert divided == design
    for name in ("rom", "depth", "issued", "exchanges", "row_values", "row_words", "kv_bits"):
        assert getattr(divided, name) == getattr(design, name), name


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=8), data=st.data())
def test_the_largest_part_is_the_least_of_all_ways_to_cut(
    sizes: list[int], data: st.DataObject
) -> None:
    most = data.draw(st.integers(1, len(sizes)))
    ways = []
    for cuts in combinations(range(1, len(sizes)), most - 1):
        ends = [0, *cuts, len(sizes)]
        ways.append(max(sum(sizes[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)))
    assert largest_part(sizes, most) == min(ways)


def test_exchanges_are_the_words_that_pieces_wait_for() -> None:
    # Of a layer: q k v together, attention, o, gate and up together, their product, down; the head.
    assert hc1().exchanges == 32 * 6 + 1


def test_what_no_design_can_be_is_refused() -> None:
    with pytest.raises(HardcastError, match="planes of 3 bits, chip hc1 has lanes of 2; choose"):
        hc1(bits=2)
    with pytest.raises(HardcastError, match="33 stages: the model has 32 layers"):
        hc1(stages=33)
    with pytest.raises(HardcastError, match="129 pieces: the chip has 128 tile rows"):
        hc1(pieces=129)
    with pytest.raises(HardcastError, match="0 pieces"):
        hc1(pieces=0)
    with pytest.raises(HardcastError, match="chip hc1: slices is 0"):
        Design(hc1().subject, dataclasses.replace(HC1, slices=0))
    odd = subject_of(config(head_dim=24), (Form(4, 1, 32, True),))
    with pytest.raises(HardcastError, match="8 tile rows do not divide head_dim / 2 = 12"):
        Design(odd, Chip("c", tile_rows=8))
