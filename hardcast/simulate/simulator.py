"""Talks to a simulated chip: a process built from harness.cpp, asked by lines of text."""

from __future__ import annotations

import os
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from hardcast import toolchain
from hardcast.errors import HardcastError

QUIT_LIMIT_S = 10.0
Progress = Callable[[int], None]
"""progress(cycles): clock cycles since the request was accepted."""


@dataclass(frozen=True)
class Response:
    """What the host port answers. data: 32 bits. error: 8 bits, 0 if all went well.

    cycles: from the edge that took the request to the one that could have taken the response.
    """

    data: int
    error: int
    cycles: int


class Simulator:
    """A chip in simulation, reset and ready; a context manager.

    Any failure on the way to an answer (Ctrl-C and an exception from a progress callback, too)
    ends the process: the next answer would be the wrong one.

    Every method raises HardcastError if the process has ended, with the reason it gave, or if the
    simulator cannot do what was asked.
    """

    def __init__(
        self,
        executable: Path,
        rom_folder: Path | None = None,
        *,
        progress_cycles: int = 0,
        cycle_limit: int = 0,
        plusargs: Sequence[str] = (),
    ) -> None:
        """Starts `executable` (verilate()'s) with the ROM contents in rom_folder; None: in the
        folder rom/ of where this process runs.

        progress_cycles: run() reports every so many cycles; 0: never. cycle_limit: a request
        without a response after so many ends the simulation; 0: it may take for ever. Both are
        looked at every 1,024 cycles.
        plusargs: more for the design, as "+verilator+seed+1".
        """
        if not (rom_folder or Path("rom")).is_dir():
            raise HardcastError(f"{rom_folder or 'rom'}: no such folder of ROM contents")
        command: list[str | Path] = [executable, *plusargs]
        command += [f"+hc_rom={rom_folder}"] if rom_folder else []
        command += ["--progress", str(progress_cycles)] if progress_cycles else []
        command += ["--limit", str(cycle_limit)] if cycle_limit else []
        self._stderr: IO[bytes] = tempfile.TemporaryFile()
        self._process = toolchain.start(command, self._stderr)
        # Runs at the garbage collector's and the interpreter's end as well.
        self._end = weakref.finalize(self, _end, self._process, self._stderr)
        self.reset()
        # The runtime only warns of a ROM file that is missing or too short, and reads zeros.
        warnings = [line for line in self._said() if line.startswith("%Warning")]
        if warnings:
            self._end()
            raise HardcastError(f"the simulator warns: {warnings[0]}")

    def __enter__(self) -> Simulator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._end()

    def read(self, address: int) -> Response:
        """Asks for the register at a 16-bit address."""
        return self._response(f"read {address}")

    def write(self, address: int, data: int) -> Response:
        """Writes 32 bits to the register at a 16-bit address."""
        return self._response(f"write {address} {data}")

    def run(self, on_progress: Progress | None = None, *, data: int = 0) -> Response:
        """Runs the chip until it responds. on_progress: called every progress_cycles."""
        return self._response(f"run 0 {data}", on_progress)

    def run_for(self, cycles: int, *, data: int = 0) -> None:
        """Begins to run, for `cycles` from the request's acceptance; then wait() or reset()."""
        self._ask(f"runfor {cycles} 0 {data}")

    def wait(self, on_progress: Progress | None = None) -> Response:
        """The response of what run_for() began (or of what was under way in a restored state)."""
        return self._response("wait", on_progress)

    def reset(self, cycles: int = 4) -> None:
        """Holds the reset for some cycles, in the middle of a run as well."""
        self._ask(f"reset {cycles}")

    def cycles(self) -> int:
        """Clock cycles so far, resets included; a restored state brings its own count."""
        return int(self._ask("cycles"))

    def stall(self, percent: int, seed: int) -> None:
        """From now on the host is slow: so often no rsp_ready, or a gap before req_valid."""
        self._ask(f"stall {percent} {seed}")

    def save(self, path: Path) -> None:
        """Writes the whole state, ROM contents included, for restore() (built savable)."""
        self._ask(f"save {_line(path)}")

    def restore(self, path: Path) -> None:
        """Goes on from a state that the same executable saved; a different one's ends us."""
        self._ask(f"restore {_line(path)}")

    def trace(self, path: Path) -> None:
        """From now on every signal goes to an FST file (built with trace)."""
        self._ask(f"trace {_line(path)}")

    def untrace(self) -> None:
        """Ends the trace: the file is whole."""
        self._ask("untrace")

    def close(self) -> None:
        """Ends the process and waits for it; a second time does nothing."""
        if not self._end.alive:
            return
        try:
            self._process.communicate("quit\n", QUIT_LIMIT_S)
            if self._process.returncode != 0:
                raise HardcastError(self._last_words())
        except subprocess.TimeoutExpired:
            raise HardcastError("the simulator did not end when asked to: killed") from None
        finally:
            self._end()

    def _response(self, command: str, on_progress: Progress | None = None) -> Response:
        data, error, cycles = (int(word) for word in self._ask(command, on_progress).split())
        return Response(data, error, cycles)

    def _ask(self, command: str, on_progress: Progress | None = None) -> str:
        """One command's answer, without the line's end."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if not self._end.alive or stdin is None or stdout is None:
            raise HardcastError("the simulator has been closed")
        try:
            try:
                stdin.write(f"{command}\n")
                stdin.flush()
                while (answer := stdout.readline()).startswith("p "):
                    if on_progress is not None:
                        on_progress(int(answer.split()[1]))
            except BrokenPipeError:
                answer = ""
            if not answer.endswith("\n"):
                raise HardcastError(self._last_words())
        except BaseException:
            self._end()
            raise
        if answer.startswith("error "):
            raise HardcastError(f"simulator: {answer[6:].strip()}")
        return answer.strip()

    def _said(self) -> list[str]:
        # pread: the process writes through the same file position.
        size = os.fstat(self._stderr.fileno()).st_size
        text = os.pread(self._stderr.fileno(), size, 0).decode("utf-8", "replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _last_words(self) -> str:
        """Why the process ended: its error, which lines without news may follow."""
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"code {code}"
        said = self._said()
        errors = [line for line in said if "%Error" in line or "%Fatal" in line]
        reason = (errors or said[-1:] or ["it gave no reason"])[0]
        return f"the simulator ended ({how}): {reason}"


def _line(path: Path) -> str:
    if "\n" in str(path):
        raise HardcastError(f"{path!r}: a path with a line break")
    return str(path)


def _end(process: subprocess.Popen[str], stderr: IO[bytes]) -> None:
    toolchain.stop(process)
    for stream in (process.stdin, process.stdout, stderr):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:  # of a command that nobody reads any more
                pass
