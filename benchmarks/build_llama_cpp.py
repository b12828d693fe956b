"""llama.cpp's own tools, built from a pinned source package for this very CPU, and cached.

The source is the one inside llama-cpp-python's package: pip brings it from whichever index the user
has, and refuses it before opening unless its SHA-256 is the pinned one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from hardcast.cache import cache_folder
from hardcast.console import Bars
from hardcast.errors import HardcastError

LLAMA_VERSION = "0.3.36"
LLAMA_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
TOOLS = ["llama-bench", "llama-quantize", "llama-tokenize"]
# Vocabularies of real models that the source package carries: tokenizers are compared on them.
VOCABULARIES = [
    f"ggml-vocab-{name}.gguf"
    for name in ("llama-bpe", "llama-spm", "phi-3", "qwen2", "gpt-2", "starcoder", "refact")
]
# For this CPU alone, as a user who cares for speed builds it; nothing that touches the network.
CMAKE_OPTIONS = """-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF""".split()


def cpu_model() -> str:
    """The CPU's name, as the system gives it."""
    return _cpu_field("model name") or platform.processor() or platform.machine()


def _cpu_field(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""


def run_logged(command: list[str], log: Path, what: str, bars: Bars) -> None:
    """Runs a program into `log`, its own "[done/total]" or "[ percent%]" lines moving a bar.

    Raises HardcastError with the last line that speaks of an error.
    """
    try:
        with (
            log.open("a", encoding="utf-8") as sink,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            bars(what, 0, None)
            try:
                for line in process.stdout or ():
                    sink.write(line)
                    if step := re.match(r"\[\s*(\d+)(?:/(\d+)|%)\]", line):
                        bars(what, int(step[1]), int(step[2] or 100))
            except BaseException:  # Ctrl-C: the compiler must not go on without us
                process.kill()
                raise
    except OSError as error:
        raise HardcastError(f"{command[0]}: cannot run: {error.strerror}") from None
    if process.returncode != 0:
        lines = [x.strip() for x in log.read_text("utf-8").splitlines() if x.strip()]
        telling = [x for x in lines if re.search("error|fail", x, re.IGNORECASE)] or lines or ["?"]
        raise HardcastError(f"{what}: {Path(command[0]).name} failed: {telling[-1][:300]}")
    bars(what, 1, 1)


def find_program(name: str) -> str | None:
    """A program of this virtual environment, or else of PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def build_llama_cpp(bars: Bars) -> Path:
    """The folder with llama.cpp's tools and VOCABULARIES, built first unless cached.

    Raises HardcastError.
    """
    # The name alone is not enough: a virtual machine may hide some of a CPU's instructions.
    cpu = cpu_model() + (_cpu_field("flags") or _cpu_field("Features"))
    key = f"llama-cpp-python-{LLAMA_VERSION}-{hashlib.sha256(cpu.encode()).hexdigest()[:12]}"
    folder = cache_folder() / "benchmarks" / key
    if all((folder / file).is_file() for file in TOOLS + VOCABULARIES):
        return folder
    cmake, ninja = find_program("cmake"), find_program("ninja")
    if cmake is None:
        raise HardcastError("cmake is needed to build llama.cpp: pip install 'hardcast[bench]'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as made:
        scratch = Path(made)
        source, tree, log = scratch / "source", scratch / "tree", scratch / "log"
        unpack_llama_cpp(download_llama_cpp(scratch, log, bars), source)
        configure = [cmake, "-S", str(source), "-B", str(tree), *CMAKE_OPTIONS]
        if ninja is not None:
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        run_logged(configure, log, "configuring llama.cpp", bars)
        jobs = str(len(os.sched_getaffinity(0)))
        compile_it = [cmake, "--build", str(tree), "--parallel", jobs, "--target", *TOOLS]
        run_logged(compile_it, log, "compiling llama.cpp", bars)
        ready = scratch / "ready"
        ready.mkdir()
        for tool in TOOLS:
            shutil.copy2(tree / "bin" / tool, ready / tool)
        for name in VOCABULARIES:
            shutil.copy2(source / "models" / name, ready / name)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(ready, folder)
    return folder


def download_llama_cpp(scratch: Path, log: Path, bars: Bars) -> Path:
    """The source package, by pip, which refuses any other hash before it opens it."""
    pinned = scratch / "requirements.txt"
    pinned.write_text(f"llama-cpp-python=={LLAMA_VERSION} --hash=sha256:{LLAMA_SHA256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--no-binary", "llama-cpp-python", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--dest", str(scratch), "-r", str(pinned)]
    run_logged(command, log, f"downloading llama-cpp-python {LLAMA_VERSION}", bars)
    return next(scratch.glob("llama_cpp_python-*.tar.gz"))


def unpack_llama_cpp(package: Path, target: Path) -> None:
    """Takes vendor/llama.cpp out of the source package."""
    prefix = f"{package.name.removesuffix('.tar.gz')}/vendor/llama.cpp/"
    with tarfile.open(package) as archive:
        members = [entry for entry in archive.getmembers() if entry.name.startswith(prefix)]
        for entry in members:
            entry.name = entry.name.removeprefix(prefix)
        archive.extractall(target, members=members, filter="data")


def requantize(quantize: Path, model: Path, bars: Bars) -> Path:
    """The same model as Q4_0, made once by llama.cpp itself from the file as shipped."""
    target = cache_folder() / "benchmarks" / f"{model.stem}-by-{LLAMA_VERSION}.Q4_0.gguf"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".quantize-", dir=target.parent) as name:
        made = Path(name) / target.name
        command = [str(quantize), "--allow-requantize", str(model), str(made), "Q4_0"]
        run_logged(command, Path(name) / "log", "making Q4_0", bars)
        os.replace(made, target)
    return target
