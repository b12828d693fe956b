"""The parts of a design: none missing, none counted twice, none busier than a run is long."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.chip import logic
from hardcast.chip.blocks import (
    ACC_BITS,
    Memory,
    Part,
    attention_steps,
    bit_mm,
    column_bits,
    mix_bits,
    parts,
)
from hardcast.chip.design import Design
from hardcast.chip.subject import Form
from hardcast.program import step as kinds
from hardcast.synthesis.blocks import BLOCKS
from tests.chip.drawn import designs, hc1, subject_of
from tests.random_image import config


def by_name(design: Design, position: int = 0, library: str = "asap7") -> Mapping[str, Part]:
    found = parts(design, library, position)
    named = {part.name: part for part in found}
    assert len(named) == len(found), "two parts have one name"
    return named


def memory(found: Mapping[str, Part], name: str) -> Memory:
    part = found[name].memory
    assert part is not None, name
    return part


def area(found: Mapping[str, Part]) -> float:
    return sum(part.cells.area_um2 for part in found.values())


def bits(found: Mapping[str, Part]) -> float:
    return sum(part.memory.bits for part in found.values() if part.memory)


@given(design=designs(), data=st.data())
@settings(deadline=None)
def test_no_part_works_longer_than_the_run(design: Design, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, design.chip.context - 1))
    cycles = design.cycles.token([position] * design.chip.users).total
    for part in parts(design, "asap7", position):
        assert 0 <= part.busy <= cycles, part.name
        assert 0 <= part.added <= part.adders * cycles
        assert part.cells.area_um2 >= 0 and part.cells.cycle_fj >= part.cells.clock_fj
        if part.memory:
            assert part.memory.bits > 0 and part.memory.words >= 1, part.name
            assert part.memory.read_bits >= 0 and part.memory.written_bits >= 0
            if part.memory.kind == "rom":
                assert part.memory.written_bits == 0


@given(design=designs())
@settings(deadline=None)
def test_every_part_of_the_rtl_is_priced(design: Design) -> None:
    used: set[str] = set()
    names = ("tile", "slice", *BLOCKS)

    def noted(function: object) -> object:
        def call(library: str, name: str) -> logic.Cells:
            used.add(name)
            return function(library, name)  # type: ignore[operator]

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logic, "block", noted(logic.block))
        patch.setattr(logic, "per_lane", noted(logic.per_lane))
        found = by_name(design)
    # The noise unit holds its philox and gumbel; tiles are scaled by users and columns instead.
    assert used | {"tile", "philox", "gumbel"} == set(names)
    memories = {name for name, part in found.items() if part.memory}
    expected = {"weight ROM", "embedding ROM", "row constants ROM", "spine ROM", "spine SRAM"}
    expected |= {"slice SRAM", "KV SRAM", "score SRAM", "logits SRAM"}
    assert memories == expected | ({"LoRA SRAM"} if design.lora_rank else set())
    normed = any(isinstance(s, kinds.HeadNorm) for s in design.subject.program.steps)
    assert ("head norm lanes" in found) == normed


def test_every_weight_is_read_once_for_all_users_and_the_heads_twice() -> None:
    for users in (1, 4):
        design = hc1(users=users)
        read = memory(by_name(design), "weight ROM").read_bits
        head = design.issued["MATVEC"] - design.depth  # wide activations: a second time
        assert head == 126 * 2 * 8
        assert read == design.rom.tiles_bits + head * design.tiles * design.word_bits


def test_a_user_more_adds_what_is_his_and_no_rom() -> None:
    one, two, three = (by_name(hc1(users=users)) for users in (1, 2, 3))
    shared = {"weight ROM", "embedding ROM", "row constants ROM", "spine ROM", "embed lanes"}
    for name, part in one.items():
        again = two[name]
        if name in shared:
            assert again.cells == part.cells, name
            assert part.memory is None or memory(two, name).bits == part.memory.bits
        elif part.memory:
            assert memory(two, name).bits == 2 * part.memory.bits, name
            assert memory(two, name).read_bits == 2 * part.memory.read_bits, name
        else:
            more = three[name].cells.area_um2 - again.cells.area_um2
            assert more > 0 or part.adders and again.adders == 2 * part.adders, name
            assert part.cells.area_um2 + more >= 0.85 * again.cells.area_um2, name
    # A row of the embedding for each user, one after another.
    assert two["embed lanes"].busy == 2 * one["embed lanes"].busy


@given(design=designs(), data=st.data())
@settings(deadline=None)
def test_more_positions_lanes_or_context_are_no_smaller(
    design: Design, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["users", "positions", "context", "slices"]))
    more = getattr(design.chip, name) * 2
    larger = Design(
        design.subject,
        dataclasses.replace(design.chip, **{name: more}),
        design.stages,
        design.pieces,
        design.lora_rank,
    )
    before, after = by_name(design), by_name(larger)
    assert area(after) >= area(before)
    assert memory(after, "KV SRAM").bits >= memory(before, "KV SRAM").bits
    if name in ("users", "context"):
        assert bits(after) > bits(before) or design.chip.context * 2 <= design.chip.positions
        assert memory(after, "KV SRAM").read_bits >= memory(before, "KV SRAM").read_bits


@given(design=designs(), data=st.data())
@settings(deadline=None)
def test_attentions_steps_are_those_of_the_cycle_model(design: Design, data: st.DataObject) -> None:
    context = design.chip.context
    low, high = sorted(data.draw(st.integers(0, context - 1)) for _ in range(2))
    steps = [attention_steps(design, position) for position in (low, high)]
    cycles = [design.cycles.token([position]).total for position in (low, high)]
    assert steps[1] - steps[0] == cycles[1] - cycles[0]
    fold = design.geometry.fold
    layers = design.subject.program.shape.num_hidden_layers
    assert attention_steps(design, 0) == 2 * fold * layers


def test_a_window_bounds_what_attention_reads() -> None:
    def read(window: int | None) -> float:
        subject = subject_of(config(sliding_window=window), (Form(4, 1, 64, False),))
        design = Design(subject, dataclasses.replace(hc1().chip, bits=4, tile_rows=4, positions=1))
        return memory(by_name(design, 1000), "KV SRAM").read_bits

    assert read(100) == 100 / 1001 * read(None)


def test_kv_memory_by_hand() -> None:
    cache = memory(by_name(hc1(), 63), "KV SRAM")
    word = 128 * 8 + 4
    # Two passes for each of 4 query heads; at position 63 two steps of 32 positions, of 8 heads.
    assert cache.read_bits == 32 * 2 * 4 * 2 * 32 * 8 * word
    assert cache.written_bits == 32 * 2 * 8 * word
    assert cache.words == 32 * 32
    assert memory(by_name(hc1(stages=4), 63), "KV SRAM").words == 8 * 32 * 4


def test_every_piece_has_slices_and_a_sequencer_of_its_own() -> None:
    one, five = by_name(hc1()), by_name(hc1(pieces=5))
    for name in ("slice control", "sequencer and host port"):
        assert five[name].cells == one[name].cells * 5
    assert memory(five, "slice SRAM").bits == 5 * memory(one, "slice SRAM").bits
    same = ("tiles", "KV heads", "rows lanes", "attention lanes")
    assert all(five[name].cells == one[name].cells for name in same)


def test_stages_repeat_the_tiles_and_share_the_work() -> None:
    one, four = by_name(hc1()), by_name(hc1(stages=4))
    assert four["tiles"] == one["tiles"]  # busy: over all stages
    assert memory(four, "weight ROM").read_bits == memory(one, "weight ROM").read_bits
    assert memory(four, "row constants ROM").bits * 4 == memory(one, "row constants ROM").bits


def test_adapters_are_memory_alone() -> None:
    design = dataclasses.replace(hc1(stages=2), lora_rank=8)
    adapters = memory(by_name(design), "LoRA SRAM")
    assert adapters.bits == design.lora_bits and adapters.read_bits == 2 * design.lora_bits
    assert "LoRA SRAM" not in by_name(hc1())


def test_wires_by_hand() -> None:
    design = hc1(users=2, pieces=4)
    width, height, kv, tile = 26.0, 30.0, 2.0, 0.5
    steps = design.issued["MATVEC"]
    activations = 64 * column_bits(design) * 4 * height  # every column of every piece
    tree = 128 * ACC_BITS * 6 * width / 2  # six levels, half the die's width of wires each
    words = 8192 * 208 * tile / 2
    results = 8 * design.row_values * (width + height) / 2
    heads = attention_steps(design, 40) / 2 * 8 * 128
    attention = heads * (8 + mix_bits(design) / 2 * 5) * kv
    expected = steps * words + 2 * (steps * (activations + tree) + results + attention)
    assert bit_mm(design, 40, (width, height), kv, tile) == pytest.approx(expected)
    assert column_bits(design) == 64 + 6 + 2 * 15


def test_a_greedy_token_asks_nothing_of_noise_and_selection() -> None:
    found = by_name(hc1())
    assert found["noise and selection"].busy == 0
    assert found["noise and selection"].cells.area_um2 > 0
    assert memory(found, "logits SRAM").read_bits == 0
    assert found["argmax"].busy == 128256 / 128
