"""Synthesis: a tile through yosys on every cell library that is here, and the arithmetic beneath.

Libraries are looked for in $HARDCAST_PDK, $PDK_ROOT, and in shared/pdk beside the repository.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hardcast import cli, toolchain
from hardcast.cells import libraries
from hardcast.cells.activity import STREAMS, Simulation, function_of, measure, ones, pack, ports
from hardcast.cells.energy import energy
from hardcast.cells.liberty import Liberty, Table
from hardcast.cells.libraries import Library, get_library, library_names
from hardcast.cells.netlist import CLOCK, Instance, Netlist
from hardcast.cells.timing import analyse, base
from hardcast.chip import measured
from hardcast.chip.parameters import Chip
from hardcast.errors import HardcastError
from hardcast.rtl import emit
from hardcast.synthesis.blocks import BLOCKS, get_block, sources
from hardcast.synthesis.options import LINEAR, Options, of_design
from hardcast.synthesis.stimuli import TileStimulus
from hardcast.synthesis.synthesize import Mapped, evaluate, map_block, synthesize
from tests import random_image

SMALL = Options(bits=2, recipe=LINEAR)
BESIDE = Path(__file__).parents[3] / "shared" / "pdk"

MINI = """
library (mini) {
  time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1nW";
  capacitive_load_unit (1, pf);
  lu_table_template (t) { variable_1 : input_net_transition;
    variable_2 : total_output_net_capacitance; index_1 ("0, 1"); index_2 ("0, 1"); }
  /* a comment with cell (not) { in it */
  cell (NOT) { area : 2  /* no semicolon */
    cell_leakage_power : 3;
    pin (A) { direction : input; capacitance : 0.002;
      internal_power () { rise_power (t) { values ("0.001, 0.001", "0.001, 0.001"); }
        fall_power (t) { values ("0.003, 0.003", "0.003, 0.003"); } } }
    pin (Y) { direction : output; function : "!A";
      internal_power () { related_pin : "A"; related_pg_pin : VDD;
        rise_power (t) { values ("0.010, 0.010", "0.010, 0.010"); }
        fall_power (t) { values ("0.030, 0.030", "0.030, 0.030"); } }
      internal_power () { related_pin : "A"; related_pg_pin : VSS;
        rise_power (t) { values ("9, 9", "9, 9"); } fall_power (t) { values ("9, 9", "9, 9"); } }
      timing () { related_pin : "A"; timing_sense : negative_unate;
        cell_rise (t) { values ("0.1, 1.1", "0.2, 1.2"); }
        cell_fall (t) { values ("0.3, 1.3", "0.4, 1.4"); }
        rise_transition (t) { values ("0, 1", "0, 1"); }
        fall_transition (t) { values ("0, 1", "0, 1"); } } } }
  cell (DFF) { area : 10;
    leakage_power () { value : 4; when : "D"; }
    leakage_power () { value : 6; when : "!D"; }
    ff (IQ, IQN) { clocked_on : "C"; next_state : "D"; }
    pin (C) { direction : input; clock : true; capacitance : 0.001;
      internal_power () { rise_power (t) { values ("0.002, 0.002", "0.002, 0.002"); }
        fall_power (t) { values ("0.004, 0.004", "0.004, 0.004"); } } }
    pin (D) { direction : input; capacitance : 0.001;
      timing () { related_pin : "C"; timing_type : setup_rising;
        rise_constraint (t) { values ("0.05, 0.05", "0.05, 0.05"); }
        fall_constraint (t) { values ("0.05, 0.05", "0.05, 0.05"); } } }
    pin (Q) { direction : output; function : "IQ";
      timing () { related_pin : "C"; timing_type : rising_edge; timing_sense : non_unate;
        cell_rise (t) { values ("0.5, 0.5", "0.5, 0.5"); }
        cell_fall (t) { values ("0.5, 0.5", "0.5, 0.5"); }
        rise_transition (t) { values ("0, 0", "0, 0"); }
        fall_transition (t) { values ("0, 0", "0, 0"); } } } }
}
"""


def mini(folder: Path) -> Library:
    """A library of two cells whose tables are easily reckoned with."""
    path = folder / "mini.lib"
    path.write_text(MINI)
    return Library(
        name="mini", title="", paths=(path,), voltage=2.0, driver="NOT", load=0.0, input=0.0,
        output=0.0, clock_slew=0.0, memory=0.0, memory_source="", wire=1.0, wire_source="",
        wire_load=False, clock_ps=1000, buffer="", high="", low="", clock_gate="",
        clock_gate_low=(), avoid=(), verilog="",
    )  # fmt: skip


def divider(library: Library) -> Netlist:
    """A flip-flop that takes its own output, inverted."""
    cells = library.liberty
    return Netlist(
        {CLOCK: 2},
        {},
        [
            Instance("n", cells["NOT"], {"A": 3, "Y": 4}),
            Instance("q[0]$_DFF_P_", cells["DFF"], {"C": 2, "D": 4, "Q": 3}),
        ],
        5,
    )


def pdk() -> Path | None:
    """The folder with cell libraries, if there is one."""
    given = [os.environ[v] for v in libraries.VARIABLES if os.environ.get(v)]
    return Path(given[0]) if given else BESIDE if BESIDE.is_dir() else None


@pytest.fixture(scope="module", params=library_names())
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """From a folder whose name is more than one word to a tool's script."""
    try:
        if (folder := pdk()) is None:
            return get_library(request.param)
        link = tmp_path_factory.mktemp("pdk") / "Zoë's pdk (2)"
        link.symlink_to(folder.absolute())
        return get_library(request.param, link)
    except HardcastError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tile(library: Library) -> Mapped:
    """The smallest tile, as cells."""
    pytest.importorskip("pyosys", reason="needs yosys: pip install 'hardcast[rtl]'")
    return map_block(BLOCKS["tile"], SMALL, library)


@pytest.fixture
def asap7(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    pytest.importorskip("pyosys", reason="needs yosys: pip install 'hardcast[rtl]'")
    folder = pdk()
    try:
        found = get_library("asap7", folder)
    except HardcastError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("HARDCAST_PDK", str(folder))
    yield found


# ---------------------------------------------------------------- a real tile


def test_a_tile_is_what_was_measured(tile: Mapped) -> None:
    result = evaluate(tile)
    before = measured.measured(tile.library.name, "tile", bits=2, users=1, columns=8, recipe=LINEAR)
    assert result.area_um2 == pytest.approx(before["area_um2"], rel=0.1)
    assert result.critical_path_ps == pytest.approx(before["critical_path_ps"], rel=0.15)
    assert result.meets and result.critical_path_ps < result.wired_path_ps < 1.8 * result.abc_ps
    assert result.energy is not None and result.energy_wired is not None
    assert result.energy_fj_per_op == pytest.approx(before["energy_fj_per_op"], rel=0.2)
    assert 0 < result.energy.settled < result.energy.total < result.energy_wired.total
    assert 0.1 < result.flip_flop_area_um2 / result.area_um2 < 0.5
    assert result.leakage_nw > 0


def test_the_netlist_computes_what_a_tile_computes(tile: Mapped) -> None:
    """Units of random weights and activations through the cells; every row, exactly."""
    netlist = tile.netlist
    stimulus = TileStimulus(netlist, SMALL)
    simulation = Simulation(netlist)
    bits = sorted(((int(n.rpartition(".")[2]), net) for n, net in netlist.outputs.items()))
    y = [net for _, net in bits]
    rows, seen = stimulus.rows, []
    for cycle in range(4 * rows + 6):
        simulation.cycle(stimulus(cycle))
        words = simulation.nets[y]
        streams = words[None] >> np.arange(STREAMS, dtype=np.uint64)[:, None] & np.uint64(1)
        seen.append((streams.astype(np.int64) << np.arange(len(y))).sum(1))
    for unit in (0, 1, 2):
        expected = stimulus.expected(unit)[..., 0] & ((1 << len(y)) - 1)
        found = [seen[unit * rows + row + rows + 5] for row in range(rows)]
        assert np.array_equal(np.array(found).T, expected)


def test_our_timing_is_opensta_s(tile: Mapped) -> None:
    if not shutil.which("sta"):
        pytest.skip("needs OpenSTA (Debian, Ubuntu: apt install opensta)")
    result = evaluate(tile, with_energy=False)
    assert result.own_path_ps == pytest.approx(result.critical_path_ps, rel=0.04)


def test_more_bits_cost_more(asap7: Library) -> None:
    small = measured.measured("asap7", "tile", bits=2, users=1, columns=8, recipe=LINEAR)
    wider = synthesize(BLOCKS["tile"], Options(bits=3, recipe=LINEAR), asap7, with_energy=False)
    assert 1.15 * small["area_um2"] < wider.area_um2 < 2 * small["area_um2"]


def test_the_verb(asap7: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.toml"
    argv = ["synth", "--pdk", "asap7", "--block", "rsqrt", "--save", str(file), "--json"]
    assert cli.main(argv) == 0
    values = json.loads(capsys.readouterr().out)
    assert {"area_um2", "cells", "critical_path_ps", "energy_fj_per_op"} <= set(values)
    assert values["meets"] and values["missed"] == [] and values["energy_fj_per_op"] > 0
    saved = measured.parse(file.read_text(), "m.toml")
    assert [m.block for m in saved] == ["rsqrt"]
    assert saved[0]["area_um2"] == pytest.approx(values["area_um2"], rel=1e-4)


def test_an_image_s_own_codes(tmp_path: Path) -> None:
    forms = (random_image.FORMS["3-bit codebook"], random_image.FORMS["two planes of 3"])
    config = random_image.config(head_dim=32, hidden_size=96, num_hidden_layers=1)
    image = random_image.write_random_image(tmp_path / "a.image", config, forms=forms)
    design = emit.design(image, Chip("t", bits=3, slices=2, tile_rows=4, context=16))
    options = of_design(design)
    assert options.geometry() is design.geometry and options.lanes == 4
    text = sources(BLOCKS["tile"], options)["hardcast_pkg.sv"]
    assert f"CODEBOOKS = {len(design.codebooks)};" in text


# ---------------------------------------------------------------- what is refused


def failed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in libraries.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert "set HARDCAST_PDK" in failed(["synth", "--pdk", "asap7"], capsys)
    assert "asap7, sg13g2" in failed(["synth", "--pdk", "n2"], capsys)
    monkeypatch.setenv("PDK_ROOT", str(tmp_path))
    assert "(PDK_ROOT): no Liberty files" in failed(["synth", "--pdk", "sg13g2"], capsys)
    (tmp_path / "ihp-sg13g2" / "lib").mkdir(parents=True)
    (tmp_path / "ihp-sg13g2" / "lib" / "sg13g2_stdcell_typ_1p20V_25C.lib").write_text("library")
    argv = ["synth", "--pdk", "sg13g2"]
    assert "no block 'lane'" in failed([*argv, "--block", "lane"], capsys)
    assert "a plane has 2, 3 or 4" in failed([*argv, "--bits", "5"], capsys)
    assert "has 4-bit codes" in failed([*argv, "--bits", "3", "--recipe", "4bit"], capsys)
    assert "shape" in failed([*argv, "--shape", "m"], capsys)


def test_without_yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(HardcastError, match="yosys: not found; install it: pip install"):
        map_block(get_block("tile"), SMALL, mini(tmp_path))


def test_liberty_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.lib"
    path.write_text("library (x) { }")
    with pytest.raises(HardcastError, match="no cells"):
        Liberty([path])
    path.write_text('library (x) { time_unit : "1 hour";\n  cell (A) { area : 1; } }')
    with pytest.raises(HardcastError, match="units"):
        Liberty([path])


# ---------------------------------------------------------------- the arithmetic


def test_liberty(tmp_path: Path) -> None:
    cells = Liberty([mini(tmp_path).paths[0]])
    inverter, flip_flop = cells["NOT"], cells["DFF"]
    assert inverter.area == 2 and inverter.leakage == 3 and flip_flop.leakage == 5
    assert inverter.pins["A"].capacitance == 2.0  # fF
    assert len(inverter.pins["Y"].powers) == 1  # not that of the ground pin
    assert flip_flop.sequential and flip_flop.state == ("IQ", "D")
    rise = inverter.pins["Y"].arcs[0].tables["cell_rise"]  # ps, of ps and fF
    assert rise(500, 500) == pytest.approx(650)
    assert rise(0, 2000) == pytest.approx(2100) and rise(0, -500) == pytest.approx(-400)
    assert Table([], [], [7.0])(3, 4) == 7.0


def test_timing(tmp_path: Path) -> None:
    library = mini(tmp_path)
    timing = analyse(divider(library), library)
    # the flip-flop's 500, then the slower edge of the inverter at a load of 1 fF; setup 50
    assert timing.load == {0: 0, 1: 0, 2: 1, 3: 2, 4: 1}
    assert timing.critical.ps == pytest.approx(500 + 301 + 50)
    route = timing.by_register()[0]
    assert (route.start, route.end, route.stages) == ("q", "q", 1)
    wired = analyse(divider(library), library, wires=True)
    assert wired.critical.ps == pytest.approx(500 + 302 + 50)
    assert base("a.b[3][1]$_DFF_P_") == "a.b" and base("codes.12") == "codes"


def test_activity_and_energy(tmp_path: Path) -> None:
    library = mini(tmp_path)
    netlist = divider(library)
    timing = analyse(netlist, library)
    activity = measure(netlist, timing.delay, lambda _: {}, 10, 1)
    assert list(activity.toggles) == [0, 0, 0, 10, 10]
    assert list(activity.settled) == [0, 0, 0, 10, 10]
    spent = energy(netlist, library, timing, activity)
    # half of C V^2 with V = 2: 2 fJ a fF. The inverter's output: 1 fF and 20 fJ inside.
    assert spent.logic == pytest.approx(2 * 1 + 20)
    assert spent.flip_flops == pytest.approx(2 * 2)
    assert spent.clock == pytest.approx(2 + 4 + 2 * 2 * 1)
    assert spent.settled == pytest.approx(spent.total)


def test_pulses_shorter_than_a_delay_are_swallowed(tmp_path: Path) -> None:
    """x and its complement, a step late, through a gate: a glitch, unless the gate is slow."""
    cells = mini(tmp_path).liberty
    text = MINI.replace("cell (NOT)", "cell (XOR)").replace('"!A"', '"A^B"')
    path = tmp_path / "xor.lib"
    path.write_text(text.replace("pin (A) {", "pin (B) { direction : input; } pin (A) {"))
    xor = Liberty([path])["XOR"]
    netlist = Netlist(
        {CLOCK: 2, "x": 3},
        {"y": 5},
        [
            Instance("n", cells["NOT"], {"A": 3, "Y": 4}),
            Instance("g", xor, {"A": 3, "B": 4, "Y": 5}),
        ],
        6,
    )
    for delay, toggles in ((1.0, 2), (3.0, 0)):
        simulation = Simulation(netlist, {4: 1.0, 5: delay}, 1.0)
        simulation.settle()
        counted = simulation.cycle({3: ~np.uint64(0)})
        assert list(counted[3:] // STREAMS) == [1, 1, toggles]


def test_words() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (STREAMS, 5)).astype(bool)
    words = pack(bits)
    assert list(ones(words)) == list(bits.sum(0))
    assert [int(words[3]) >> i & 1 for i in range(STREAMS)] == list(bits[:, 3])
    evaluate_, names = function_of("(A * !B) + C'")
    assert names == ("A", "B", "C")
    a, b, c = words[:1], words[1:2], words[2:3]
    assert evaluate_({"A": a, "B": b, "C": c}) == (a & ~b) | ~c
    with pytest.raises(HardcastError, match="not understood"):
        function_of("__import__('os')")
    nets = Netlist({CLOCK: 2, "d.1": 4, "d.0": 3, "en": 5}, {}, [], 6)
    assert ports(nets) == {"d": [3, 4], "en": [5]}


def test_measurements(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    one = measured.Measurement(
        "tile",
        {"bits": 3, "recipe": '3"6'},
        "k",
        "s",
        "a -> b",
        {"area": measured.Quantity(2, "u")},
    )
    other = measured.Measurement("gate", {}, "k", "s", "l", {"x": measured.Quantity(0.25, "1")})
    measured.save(path, [one])
    measured.save(path, [other, one])
    found = measured.parse(path.read_text(), "m")
    assert found == [other, one]
    with pytest.raises(HardcastError, match="m: no file of measurements"):
        measured.parse("[[measurement]]\nblock = 3", "m")
    with pytest.raises(HardcastError, match="nothing was measured with 'n3'"):
        measured.measurements("n3")
    with pytest.raises(HardcastError, match="no measurement of tile, bits 9"):
        measured.measured(measured.libraries()[0], "tile", bits=9)


@pytest.mark.parametrize("name", measured.libraries())
def test_what_is_packaged(name: str) -> None:
    """Every block is there, and every one closes at the clock that the library is for."""
    found = measured.measurements(name)
    assert {m.block for m in found} == set(BLOCKS)
    for entry in found:
        assert entry.kind and entry.source and entry["area_um2"] > 0
        assert entry["critical_path_ps"] <= {"asap7": 1000, "sg13g2": 10000}[name], entry
    tiles = {m.options["bits"]: m for m in found if m.options.get("recipe") == LINEAR}
    areas = [tiles[bits]["area_um2"] for bits in (2, 3, 4)]
    assert areas == sorted(areas)


# ---------------------------------------------------------------- the slow table


@pytest.mark.verify
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_again(library: Library, name: str) -> None:
    """What is packaged is what the RTL of today gives, block by block."""
    pytest.importorskip("pyosys", reason="needs yosys: pip install 'hardcast[rtl]'")
    block = BLOCKS[name]
    options = Options(**block.defaults)
    result = synthesize(block, options, library, with_energy=False)
    used = {key: getattr(options, key) for key in block.uses}
    before = measured.measured(library.name, name, **used)
    assert result.area_um2 == pytest.approx(before["area_um2"], rel=0.02)
    assert result.critical_path_ps == pytest.approx(before["critical_path_ps"], rel=0.05)
