"""The promises about the real model, through real processes: `make verify`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hardcast.image import open_image
from tests.real_model import smollm2

pytestmark = pytest.mark.verify

MIB = 1 << 20


def run(argv: list[str], folder: Path) -> tuple[dict[str, Any], int]:
    """The --json object of a command run as a process, and its peak resident memory in bytes."""
    out = folder / "stdout.json"
    with out.open("wb") as stdout:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "hardcast", *argv, "--json"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, stdout.fileno(), 1)],
        )
    # wait4 tells the memory of this one child; RUSAGE_CHILDREN would be the largest of all so far.
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    unit = 1 if sys.platform == "darwin" else 1024
    return json.loads(out.read_text("utf-8")), usage.ru_maxrss * unit


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    smollm2()
    folder = tmp_path_factory.mktemp("demo")
    return run(["demo", "-o", str(folder / "smollm2.image")], folder)[0]


def test_the_virtual_chip_says_paris(demo: dict[str, Any]) -> None:
    assert "Paris" in demo["answer"]
    image = open_image(demo["image"])
    image.verify()
    assert image.digest == demo["digest"]


def test_build_is_quick_small_and_the_same_again(demo: dict[str, Any], tmp_path: Path) -> None:
    built, peak_bytes = run(["build", str(smollm2()), "-o", str(tmp_path / "i")], tmp_path)
    assert built["digest"] == demo["digest"]
    assert built["seconds"] < 20
    assert peak_bytes < 1024 * MIB


def test_generate_needs_little_more_than_the_image(demo: dict[str, Any], tmp_path: Path) -> None:
    """Image + KV cache + 150 MiB. The cache grows by doubling: at most twice the positions."""
    argv = ["generate", demo["image"], "--prompt", "Tell me about the sea.", "--max-tokens", "64"]
    values, peak_bytes = run(argv, tmp_path)
    shape = open_image(demo["image"]).program.shape
    position = shape.num_hidden_layers * 2 * shape.num_key_value_heads * (shape.head_dim + 1)
    positions = 2 * (values["prompt_tokens"] + len(values["token_ids"]))
    assert peak_bytes <= demo["size_bytes"] + positions * position + 150 * MIB
