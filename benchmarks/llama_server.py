"""llama.cpp's server from the same pinned source as its other tools, cached beside them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from build_llama_cpp import (
    CMAKE_OPTIONS,
    LLAMA_VERSION,
    cpu_model,
    download_llama_cpp,
    find_program,
    run_logged,
    unpack_llama_cpp,
)

from hardcast.cache import cache_folder
from hardcast.console import Bars
from hardcast.errors import HardcastError

SERVER = "llama-server"
# Without its own page, which would need node or the network; llama-quantize makes the Q4_0 file.
SERVER_OPTIONS = ["-DLLAMA_BUILD_SERVER=ON", "-DLLAMA_BUILD_WEBUI=OFF", "-DLLAMA_BUILD_UI=OFF"]
NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
BUILT = [SERVER, "llama-quantize"]


def build_llama_server(bars: Bars, amx: bool = True) -> Path:
    """The folder with llama-server and llama-quantize, built first unless cached.

    amx: False leaves out matrix tiles, which some virtual machines advertise and cannot run: there
    its first product ends the server. Raises HardcastError.
    """
    key = hashlib.sha256(cpu_model().encode()).hexdigest()[:12] + ("" if amx else "-without-amx")
    folder = cache_folder() / "benchmarks" / f"llama-server-{LLAMA_VERSION}-{key}"
    if all((folder / file).is_file() for file in BUILT):
        return folder
    cmake, ninja = find_program("cmake"), find_program("ninja")
    if cmake is None:
        raise HardcastError("cmake is needed to build llama.cpp: pip install 'hardcast[bench]'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as made:
        scratch = Path(made)
        source, tree, log = scratch / "source", scratch / "tree", scratch / "log"
        unpack_llama_cpp(download_llama_cpp(scratch, log, bars), source)
        options = [option for option in CMAKE_OPTIONS if "BUILD_SERVER" not in option]
        configure = [cmake, "-S", str(source), "-B", str(tree), *options, *SERVER_OPTIONS]
        configure += [] if amx else [f"-DCMAKE_{kind}_FLAGS={NO_AMX}" for kind in ("C", "CXX")]
        if ninja is not None:
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        run_logged(configure, log, "configuring llama.cpp", bars)
        jobs = str(len(os.sched_getaffinity(0)))
        compile_it = [cmake, "--build", str(tree), "--parallel", jobs, "--target", *BUILT]
        run_logged(compile_it, log, "compiling llama.cpp's server", bars)
        ready = scratch / "ready"
        ready.mkdir()
        for tool in BUILT:
            shutil.copy2(tree / "bin" / tool, ready / tool)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(ready, folder)
    return folder
