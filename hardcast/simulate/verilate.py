"""SystemVerilog to a simulator: an executable in the cache folder, built once.

Verilator only writes the C++; we compile it. Its own make file compiles the runtime anew for each
design (7 s), which is kept here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardcast import toolchain
from hardcast.cache import CACHE_VARIABLE, cache_folder
from hardcast.cores import usable_cores
from hardcast.errors import HardcastError

HARNESS = Path(__file__).parent / "harness.cpp"
SHIM = Path(__file__).parent / "shim"
CXX_FLAGS = ("-std=c++20", "-march=native")
RUNTIME_OPTIMISATION = "-O2"
# Generated C++ that is worth a compiler process of its own: the headers cost each one 0.6 s.
UNIT_BYTES = 400_000
# Statements a generated function: this halves the C++ compiler's time at -O3, at the same speed.
FUNCTION_STATEMENTS = 2000
PATHS = ("utf-8", "surrogateescape")  # encoding of text that names files
UNUSED_DAYS = 30  # what no build has asked for in so long leaves the cache
SEARCHED = (".sv", ".svh", ".v", ".vh", ".h", ".hpp")


@dataclass(frozen=True)
class Options:
    """How a simulator is built.

    trace: it can write FST files (needs zlib's headers). savable: its state can be saved.
    optimisation: the C++ compiler's -O for the code of every cycle: 3 for long runs, 1 for tests;
        0 compiles little faster and runs 70 times slower.
    timing: delays are simulated; without it, code that has some is refused.
    unknown: what x and the uninitialised read as: "fast", "0", or "unique" (random, with the
        plusargs +verilator+rand+reset+2 and +verilator+seed+N).
    defines, parameters: (name, value) of macros and of the top module's parameters.
    arguments: more of Verilator's, as -Wall. Its warnings are errors, always.
    """

    trace: bool = False
    savable: bool = False
    threads: int = 1
    optimisation: int = 3
    assertions: bool = True
    timing: bool = False
    unknown: str = "fast"
    defines: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()


class _Failed(Exception):
    """A program failed; its output is in `log`, which is about to be deleted with the build."""

    def __init__(self, log: Path) -> None:
        self.log = log


def verilate(
    sources: Sequence[Path],
    top: str,
    harness: Sequence[Path] = (HARNESS,),
    includes: Sequence[Path] = (),
    options: Options | None = None,
) -> Path:
    """The simulator of module `top`: an executable, from the cache or built into it.

    sources: SystemVerilog and .vlt files, in order. includes: folders that both languages search.
    harness: C++ with a main() that includes V<top>.h; HC_TRACE, HC_SAVABLE and HC_THREADS tell it
    how it is built. Its headers lie beside it or in includes. What the design reads when it runs,
    as by $readmemh, is no part of the hash.

    Raises HardcastError: a missing tool or file, an error or warning (with its log), a full disk.
    """
    folder = cache_folder() / "verilator"
    try:
        build = _Build(folder, top, sources, harness, includes, options or Options())
        if build.simulator.is_file():
            os.utime(build.simulator.parent)
            return build.simulator
        folder.mkdir(parents=True, exist_ok=True)
        _forget_unused(folder)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as name:
            try:
                build.into(Path(name))
            except _Failed as failed:
                log = folder / f"{build.key}.log"
                os.replace(failed.log, log)
                message = f"{top}: {toolchain.error_lines(log)} (log: {log})"
                raise HardcastError(message) from None
    except OSError as error:
        raise HardcastError(
            f"{error.filename or folder}: {error.strerror or error} "
            f"(simulators are kept below {folder}; {CACHE_VARIABLE} moves them)"
        ) from None
    return build.simulator


class _Build:
    """What a simulator is made from, and its place in the cache."""

    def __init__(
        self,
        folder: Path,
        top: str,
        sources: Sequence[Path],
        harness: Sequence[Path],
        includes: Sequence[Path],
        options: Options,
    ) -> None:
        self.folder, self.top, self.sources = folder, top, sources
        self.harness, self.includes, self.options = harness, includes, options
        self.program, self.root = toolchain.find_verilator()
        self.environment = {**os.environ, "VERILATOR_ROOT": str(self.root), "LC_ALL": "C"}
        self.compiler = [*toolchain.find_compiler(), *CXX_FLAGS]
        # The compiler's macros name its version and what -march=native means on this machine.
        macros = [*self.compiler, "-dM", "-E", "-x", "c++", os.devnull]
        version = toolchain.run([self.program, "--version"], self.environment)
        self.tools = repr((self.compiler, version, toolchain.run(macros, self.environment)))
        self.key = self._key()
        self.simulator = folder / self.key / "simulator"

    def _key(self) -> str:
        searched = [*self.includes, *(path.parent for path in self.harness), SHIM]
        headers = [
            path
            for folder in searched
            for path in sorted(folder.iterdir())
            if path.suffix in SEARCHED and path.is_file()
        ]
        constants = (RUNTIME_OPTIMISATION, UNIT_BYTES, FUNCTION_STATEMENTS)
        digest = hashlib.sha256(repr((self.tools, self.top, self.options, constants)).encode())
        for path in [*self.sources, *self.harness, *headers]:
            content = path.read_bytes()
            digest.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:32]

    def into(self, work: Path) -> None:
        """Builds in the folder `work`, then moves the simulator to its place. Raises _Failed."""
        generated = work / "generated"
        self._run([(self._verilator(generated), work / "verilator.log")])
        listed = _listed(generated / f"V{self.top}.json")
        files = {name: [Path(path) for path in paths] for name, paths in listed["sources"].items()}
        hot = [*files["classes_fast"], *files.get("support_fast", [])]
        cold = [*files["classes_slow"], *files.get("support_slow", [])]
        if sum(path.stat().st_size for path in hot + cold) < UNIT_BYTES:
            hot, cold = hot + cold, []  # one compiler process does both sooner than two
        level = f"-O{self.options.optimisation}"
        units = [(unit, level) for unit in _units(hot, work, "hot")]
        units += [(unit, "-O1") for unit in _units(cold, work, "cold")]
        units += [(path, level) for path in self.harness]

        compiler = [*self.compiler, *self._includes(generated), *self._defines()]
        jobs: list[tuple[toolchain.Command, Path]] = []
        objects = []
        for index, (unit, how) in enumerate(units):
            objects.append(work / f"{index}.o")
            command = [*compiler, how, "-c", unit, "-o", objects[-1]]
            jobs.append((command, work / f"{index}.log"))
        runtime = {path: self._runtime(path) for path in files["global"]}
        for path, kept in runtime.items():
            objects.append(kept if kept.is_file() else work / kept.name)
            if objects[-1] != kept:
                command = [*compiler, RUNTIME_OPTIMISATION, "-c", path, "-o", objects[-1]]
                jobs.append((command, work / f"{kept.name}.log"))
            else:
                os.utime(kept)
        self._run(jobs)

        (work / "done").mkdir()
        libraries = ["-pthread", *listed["options"].get("ldflags", [])]
        link = [*self.compiler, *objects, "-o", work / "done" / "simulator", *libraries]
        self._run([(link, work / "link.log")])
        for kept in runtime.values():
            if (work / kept.name).exists():
                os.replace(work / kept.name, kept)
        try:
            os.rename(work / "done", self.simulator.parent)
        except OSError:  # another process was faster: its simulator is as good
            if not self.simulator.is_file():
                raise

    def _run(self, jobs: Sequence[tuple[toolchain.Command, Path]]) -> None:
        failed = toolchain.run_all(jobs, self.environment)
        if failed is not None:
            raise _Failed(failed)

    def _verilator(self, generated: Path) -> toolchain.Command:
        options = self.options
        command: list[str | Path] = [self.program, "--cc", "--make", "json", "--quiet-stats"]
        command += ["--top-module", self.top, "--prefix", f"V{self.top}", "--Mdir", generated]
        command += ["--x-assign", options.unknown, "--x-initial", options.unknown]
        command += ["--output-split-cfuncs", str(FUNCTION_STATEMENTS)]
        command += ["--assert" if options.assertions else "--no-assert"]
        command += ["--timing" if options.timing else "--no-timing"]
        command += ["--trace-fst"] * options.trace + ["--savable"] * options.savable
        command += ["--threads", str(options.threads)] if options.threads > 1 else []
        command += [f"-D{name}={value}" for name, value in options.defines]
        command += [f"-G{name}={value}" for name, value in options.parameters]
        command += [f"-I{folder}" for folder in self.includes]
        return [*command, *options.arguments, *self.sources]

    def _includes(self, generated: Path) -> list[str | Path]:
        flags: list[str | Path] = ["-I", generated, "-I", SHIM]
        for folder in self.includes:
            flags += ["-I", folder]
        # Verilator's own headers as the system's: what they are warned of is not ours to mend.
        for folder in (self.root / "include", self.root / "include" / "vltstd"):
            flags += ["-isystem", folder]
        return flags

    def _defines(self) -> list[str]:
        options = self.options
        return ["-DVERILATOR=1"] + (
            ["-DHC_TRACE"] * options.trace
            + ["-DHC_SAVABLE"] * options.savable
            + [f"-DHC_THREADS={options.threads}"] * (options.threads > 1)
        )

    def _runtime(self, path: Path) -> Path:
        """Where a file of Verilator's runtime is kept, compiled: no design's options change it."""
        shim = b"".join(file.read_bytes() for file in sorted(SHIM.iterdir()))
        digest = hashlib.sha256(repr((self.tools, RUNTIME_OPTIMISATION, shim)).encode())
        digest.update(path.read_bytes())
        return self.folder / f"{path.stem}-{digest.hexdigest()[:16]}.o"


def _listed(path: Path) -> dict[str, Any]:
    """What Verilator says it has written. It puts bytes beyond ASCII as octal escapes, \\303\\253,
    which are no JSON: they become the bytes again, and these the system's form of a path."""
    whole = re.sub(
        rb"\\(?:([0-3][0-7]{2})|(.))",
        lambda found: bytes([int(found[1], 8)]) if found[1] else found[0],
        path.read_bytes(),
    )
    listed: dict[str, Any] = json.loads(os.fsdecode(whole))
    return listed


def _units(files: Sequence[Path], work: Path, name: str) -> list[Path]:
    """The files as units of even size that include them: one a core at most, one if small."""
    sizes = {path: path.stat().st_size for path in files}
    count = min(usable_cores(), -(-sum(sizes.values()) // UNIT_BYTES))
    shares: list[list[Path]] = [[] for _ in range(count)]
    for path in sorted(files, key=lambda path: -sizes[path]):
        min(shares, key=lambda share: sum(sizes[other] for other in share)).append(path)
    units = []
    for index, share in enumerate(shares):
        units.append(work / f"{name}{index}.cpp")
        units[-1].write_text("".join(f'#include "{path}"\n' for path in share), *PATHS)
    return units


def _forget_unused(folder: Path) -> None:
    oldest = time.time() - UNUSED_DAYS * 86400
    for path in folder.iterdir():
        try:
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:  # another process has just done so
            continue
