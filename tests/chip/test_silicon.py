"""What parts cost, against arithmetic by hand on figures that stand here."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.chip import logic, silicon
from hardcast.chip.blocks import Memory, Part
from hardcast.chip.estimate import chip_assumptions
from hardcast.chip.logic import Cells
from hardcast.technology.assumptions import Assumptions
from hardcast.technology.figure import parse_figure
from tests.chip.drawn import hc1

PLAIN = {
    "node.logic_area_factor": 0.5,
    "node.cell_utilisation": 0.8,
    "node.logic_energy_factor": 2.0,
    "node.logic_delay_factor": 1.5,
    "node.logic_margin": 1.2,
    "node.logic_leakage": 0.05,
    "node.logic_density": 100.0,
    "node.rom_bitcell": 0.01,
    "node.rom_column_mux": 4.0,
    "node.rom_leakage": 0.007,
    "node.sram_bitcell": 0.03,
    "node.sram_leakage": 0.005,
    "node.wire_delay": 100.0,
    "node.reticle_width": 26.0,
    "node.reticle_height": 33.0,
    "chip.adder_area": 25.0,
    "chip.adder_energy": 60.0,
    "chip.rom_spare": 0.25,
    "chip.logic_activity": 0.75,
    "chip.clock_tree": 1.0,
    "chip.idle_clock": 0.1,
    "chip.register_time": 200.0,
    "chip.rom_bits_a_transistor": 2.0,
    "chip.sram_transistors": 6.0,
}
CURVES = {
    "node.rom_efficiency": (0.25, 0.5),
    "node.sram_efficiency": (0.2, 0.4),
    "node.rom_read": (1.0, 16.0),
    "node.sram_read": (3.0, 12.0),
    "node.rom_access": (300.0, 700.0),
    "node.sram_access": (200.0, 900.0),
}
CELLS = Cells(1000.0, 50.0, 10.0)


def assumed(library: str = "asap7", **values: float) -> Assumptions:
    figures = {}
    for name, value in {**PLAIN, **{k.replace("_", ".", 1): v for k, v in values.items()}}.items():
        entry = {"value": value, "unit": "-", "kind": "paper", "source": "by hand"}
        figures[name] = parse_figure(name, name, entry)
    for name, ends in CURVES.items():
        entry = {"value": list(ends), "at": [16, 4096], "over": "words"}
        entry |= {"unit": "-", "kind": "paper", "source": "by hand"}
        figures[name] = parse_figure(name, name, entry)
    return Assumptions(figures, {"node.library": library})


def test_area_of_cells_and_macros() -> None:
    a = assumed()
    cells = Part("p", "g", CELLS)
    assert silicon.area_mm2(cells, a) == pytest.approx(1000 * 0.5 / 0.8 * 1e-6)
    rom = Part("p", "g", memory=Memory("rom", 4e6, 4096, 0))
    assert silicon.area_mm2(rom, a) == pytest.approx(4e6 * 1.25 * 0.01 / 0.5 * 1e-6)
    sram = Part("p", "g", CELLS, memory=Memory("sram", 4e6, 16, 0))
    macros = 4e6 * 1.25 * 0.03 / 0.2 * 1e-6
    assert silicon.area_mm2(sram, a) == pytest.approx(macros + silicon.area_mm2(cells, a))
    tree = Part("p", "g", adders=40)
    assert silicon.area_mm2(tree, a) == pytest.approx(40 * 25 * 0.5 / 0.8 * 1e-6)
    assert silicon.area_mm2(Part("p", "g"), a) == 0


def test_a_memory_deeper_than_a_macro_is_several() -> None:
    a = chip_assumptions("n6")
    deep = [silicon.memory_mm2(Memory("rom", 1e9, words, 0), a) for words in (8192, 30000)]
    assert deep[0] == deep[1]
    read = [
        silicon.energy_j(Part("p", "g", memory=Memory("rom", 1e9, words, 1e6)), a)
        for words in (8192, 30000)
    ]
    assert read[0] == read[1]


def test_energy_is_data_where_cells_work_and_clocks_everywhere() -> None:
    a = assumed()
    part = Part("p", "g", CELLS, busy=30)
    data = 30 * 40 * 0.75 * 2.0
    assert silicon.energy_j(part, a) == pytest.approx(data * 1e-15)
    clock = (30 + 70 * 0.1) * 10 * 2 * 2.0
    assert silicon.clock_j(part, a, 100) == pytest.approx(clock * 1e-15)
    assert silicon.clock_j(part, a, 10) == pytest.approx(30 * 10 * 2 * 2.0 * 1e-15)
    tree = Part("p", "g", adders=8, added=50)
    assert silicon.energy_j(tree, a) == pytest.approx(50 * 60 * 0.75 * 2.0 * 1e-15)


def test_energy_of_memories_by_kind_and_depth() -> None:
    a = assumed()
    rom = Part("p", "g", memory=Memory("rom", 1.0, 64, 1000))
    assert silicon.energy_j(rom, a) == pytest.approx(1000 * 1.0 * 1e-15)  # 64 / 4 rows of a line
    sram = Part("p", "g", memory=Memory("sram", 1.0, 4096, 1000, 500))
    assert silicon.energy_j(sram, a) == pytest.approx(1500 * 12.0 * 1e-15)


def test_leakage_is_by_area_of_each_kind() -> None:
    a = assumed()
    part = Part("p", "g", CELLS, memory=Memory("sram", 4e6, 16, 0))
    assert part.memory is not None
    expected = 1000 * 0.5 / 0.8 * 1e-6 * 0.05 + silicon.memory_mm2(part.memory, a) * 0.005
    assert silicon.leakage_w(part, a) == pytest.approx(expected)


def test_transistors_are_cells_by_density_and_bits_by_cell() -> None:
    a = assumed()
    logic_only = silicon.transistors(Part("p", "g", CELLS), a)
    assert logic_only == pytest.approx(1000 * 0.5 * 1e-6 * 100 * 1e6)  # area without gaps
    assert silicon.transistors(Part("p", "g", memory=Memory("rom", 10, 1, 0)), a) == 5
    assert silicon.transistors(Part("p", "g", memory=Memory("sram", 10, 1, 0)), a) == 60


def test_adders_of_another_library_scale_in_area_and_in_energy_apart() -> None:
    tree = Part("p", "g", adders=1, added=1)
    mine, theirs = assumed(), assumed("sg13g2")
    flops = [logic.flip_flop(name) for name in ("sg13g2", "asap7")]
    area = silicon.area_mm2(tree, theirs) / silicon.area_mm2(tree, mine)
    energy = silicon.energy_j(tree, theirs) / silicon.energy_j(tree, mine)
    assert area == pytest.approx(flops[0].area_um2 / flops[1].area_um2)
    assert energy == pytest.approx(flops[0].cycle_fj / flops[1].cycle_fj)
    assert area > 2 * energy > 20


def test_the_clocks_limits_by_hand() -> None:
    a = assumed()
    design = hc1(broadcast_stages=4, gather_stages=1)  # 28 mm in 5 hops, 10 mm in 2
    limits = silicon.clock_limits_ps(design, a, 20.0, 36.0)
    assert limits["logic"] == pytest.approx(logic.slowest_path_ps("asap7", 3, False) * 1.5 * 1.2)
    assert limits["ROM"] == pytest.approx(700)  # beyond the curve's end
    middle = math.log(1024 / 16) / math.log(4096 / 16)
    assert limits["SRAM"] == pytest.approx(200 * 4.5**middle)
    assert limits["wires"] == pytest.approx(5.6 * 100 + 200 * 1.5)
    back = silicon.clock_limits_ps(hc1(broadcast_stages=6, gather_stages=0), a, 20.0, 36.0)
    assert back["wires"] == pytest.approx(10 * 100 + 200 * 1.5)
    slow = silicon.clock_limits_ps(design, assumed("sg13g2"), 20.0, 36.0)
    paths = [logic.slowest_path_ps(name, 3, False) for name in ("sg13g2", "asap7")]
    assert slow["wires"] == pytest.approx(560 + 300 * paths[0] / paths[1])


@given(area=st.floats(0.1, 5000))
def test_a_die_is_square_until_the_reticle_stops_it(area: float) -> None:
    width, height = silicon.sides_mm(area, assumed())
    assert width * height == pytest.approx(area)
    assert width == pytest.approx(min(math.sqrt(area), 26))
    assert width <= height * (1 + 1e-9)


@given(
    words=st.integers(1, 20000),
    kind=st.sampled_from(["rom", "sram"]),
    node=st.sampled_from(["n6", "sg13g2", "n3e"]),
)
def test_samples_are_each_what_they_would_be_alone(words: int, kind: str, node: str) -> None:
    a = chip_assumptions(node)
    drawn = a.sampled(5, seed=words)
    part = Part("p", "g", CELLS, 20, Memory(kind, 1e6, words, 1e5, 1e4), 3, 40)
    functions = (silicon.area_mm2, silicon.energy_j, silicon.leakage_w, silicon.transistors)
    for index in range(5):
        chosen = {name: float(np.asarray(u)[index]) for name, u in drawn.chosen.items()}
        alone = dataclasses.replace(a, chosen=chosen)
        for function in functions:
            many, one = function(part, drawn), function(part, alone)
            assert np.broadcast_to(many, 5)[index] == pytest.approx(one, rel=1e-9)
        many = silicon.clock_j(part, drawn, 60)
        assert np.asarray(many)[index] == pytest.approx(silicon.clock_j(part, alone, 60))
