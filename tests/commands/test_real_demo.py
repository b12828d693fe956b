"""The promises about the real model, through real processes: `make verify`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hardcast.image import open_image
from tests.real_model import smollm2

pytestmark = pytest.mark.verify

MIB = 1 << 20


# The kernel carries ru_maxrss of the process that spawns over to the one it spawns, so the child
# itself says how much it needed; VmHWM begins anew with each program.
MEASURED = """
import sys
from hardcast.cli import main
code = main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""


def run(argv: list[str]) -> tuple[dict[str, Any], int]:
    """The --json object of a command run as a process, and its peak resident memory in bytes."""
    if not Path("/proc/self/status").exists():
        pytest.skip("a process's peak memory is read from /proc, which this system lacks")
    command = [sys.executable, "-c", MEASURED, *argv, "--json"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(done.stdout), int(done.stderr.split()[-1]) * 1024


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    smollm2()
    folder = tmp_path_factory.mktemp("demo")
    return run(["demo", "-o", str(folder / "smollm2.image")])[0]


def test_the_virtual_chip_says_paris(demo: dict[str, Any]) -> None:
    assert "Paris" in demo["answer"]
    image = open_image(demo["image"])
    image.verify()
    assert image.digest == demo["digest"]


def test_build_is_quick_small_and_the_same_again(demo: dict[str, Any], tmp_path: Path) -> None:
    built, peak_bytes = run(["build", str(smollm2()), "-o", str(tmp_path / "i")])
    print(f"build: {built['seconds']:.1f} s, peak {peak_bytes / MIB:.0f} MiB")
    assert built["digest"] == demo["digest"]
    assert built["seconds"] < 20
    assert peak_bytes < 1024 * MIB


def test_generate_needs_little_more_than_the_image(demo: dict[str, Any]) -> None:
    """Image + KV cache + 150 MiB. The cache grows by doubling: at most twice the positions."""
    argv = ["generate", demo["image"], "--prompt", "Tell me about the sea.", "--max-tokens", "64"]
    values, peak_bytes = run(argv)
    print(f"generate: peak {peak_bytes / MIB:.0f} MiB")
    shape = open_image(demo["image"]).program.shape
    position = shape.num_hidden_layers * 2 * shape.num_key_value_heads * (shape.head_dim + 1)
    positions = 2 * (values["prompt_tokens"] + len(values["token_ids"]))
    assert peak_bytes <= demo["size_bytes"] + positions * position + 150 * MIB
