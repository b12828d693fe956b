"""The paths that this CPU lacks, executed all the same: SIMDe emulates AVX-512 VNNI, AVX-VNNI and
NEON on x86-64, and qemu runs the real aarch64 code. `make verify` runs these."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NATIVE = REPOSITORY / "hardcast" / "engine" / "native"
EMULATE = Path(__file__).parent / "emulate"

pytestmark = pytest.mark.verify


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Output of a command; its whole output is the failure message when it fails."""
    merged = {**os.environ, **(env or {})}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=merged, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="needs an x86-64 CPU")
def test_simde_emulation(tmp_path: Path) -> None:
    """All of test_kernels.py against a module in which every x86 path and NEON can run."""
    if not any(Path(root, "simde").is_dir() for root in ("/usr/include", "/usr/local/include")):
        pytest.skip("SIMDe is not installed (Debian, Ubuntu: apt install libsimde-dev)")
    cmake = shutil.which("cmake") or pytest.skip("cmake is not installed")
    build = tmp_path / "build"
    run(cmake, "-S", REPOSITORY, "-B", build, "-DHARDCAST_EMULATE=ON",
        f"-DPython_EXECUTABLE={sys.executable}")  # fmt: skip
    run(cmake, "--build", build, "--parallel", "2")
    (module,) = build.glob("_native*.so")
    env = {"HARDCAST_NATIVE_MODULE": str(module)}
    listed = run(
        sys.executable, "-c",
        "import test_kernels; print(*test_kernels.PATHS)",
        env={**env, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert listed.split() == ["avx512vnni", "avxvnni", "avx2", "neon", "portable"]
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
        Path(__file__).with_name("test_kernels.py"), env=env)  # fmt: skip


@pytest.mark.parametrize("cpu", ["max", "cortex-a53"])
def test_aarch64_under_qemu(cpu: str, tmp_path: Path) -> None:
    """The real NEON code; and a core without the dot product, which must fall back."""
    compiler = shutil.which("aarch64-linux-gnu-g++")
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if compiler is None or qemu is None:
        pytest.skip("needs Debian's g++-aarch64-linux-gnu and qemu-user")
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}", "-c"]
    neon = tmp_path / "neon.o"
    kernels = NATIVE / "kernels"
    run(compiler, *flags, "-march=armv8.2-a+dotprod", "-o", neon, kernels / "kernels_neon.cpp")
    sources = [kernels / f"{name}.cpp" for name in ("dispatch", "kernels_portable")]
    sources += [NATIVE / f"{name}.cpp" for name in ("activations", "memory", "packed_matrix")]
    objects = [neon]
    for source in [*sources, EMULATE / "agree.cpp"]:
        objects.append(tmp_path / f"{source.stem}.o")
        run(compiler, *flags, "-o", objects[-1], source)
    program = tmp_path / "agree"
    run(compiler, "-static", "-o", program, *objects)
    answer = run(qemu, "-cpu", cpu, program)
    paths = ["neon", "portable"] if cpu == "max" else ["portable"]
    assert answer.splitlines() == [f"{path} equal" for path in paths]
