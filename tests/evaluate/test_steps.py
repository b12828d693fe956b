"""What each rounding costs alone: every one is found, and a planted fault stands out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hardcast import cli, flow, models
from hardcast.checkpoint import open_checkpoint
from hardcast.evaluate.steps import StepLoss, measure_steps
from hardcast.numerics.points import Points
from hardcast.quantize.balance import Balanced, exponents
from hardcast.quantize.folding import Plain, Source
from tests import tiny
from tests.quantize.test_balance import loud_keys

TOKENS = np.arange(3, 60) * 17 % 1009
BUFFERS = [
    ("h", "q_proj k_proj v_proj"),
    ("q", "attention"),
    ("k", "attention"),
    ("v", "attention"),
    ("a", "o_proj"),
    ("h", "gate_proj up_proj"),
    ("f", "down_proj"),
]


def losses(path: Path, balanced: bool) -> list[StepLoss]:
    checkpoint = open_checkpoint(str(path))
    plain: Source = Plain(checkpoint, models.build_program(checkpoint.config))
    source = Balanced(plain, exponents(plain)) if balanced else plain
    config = checkpoint.config
    return measure_steps(source, config, Points(), TOKENS, True, lambda done, total: None)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_every_rounding_is_there(architecture: str, tmp_path: Path) -> None:
    found = losses(tiny.write_safetensors(tmp_path / "m", architecture), True)
    wanted = [(layer, *buffer) for layer in (0, 1) for buffer in BUFFERS]
    assert [(s.layer, s.buffer, s.reads) for s in found] == [*wanted, (None, "h", "embed_tokens")]
    assert all(0 < loss.kl < 0.2 for loss in found)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_keys_that_drown_stand_out_until_they_are_balanced(
    architecture: str, tmp_path: Path
) -> None:
    path = loud_keys(tmp_path / "m", architecture)

    def of_keys(balanced: bool) -> float:
        found = losses(path, balanced)
        return sum(s.kl for s in found if s.buffer == "k") / sum(s.kl for s in found)

    assert of_keys(False) > 0.4
    assert of_keys(True) < 0.25


@pytest.mark.parametrize("recipe", ["4bit", "4gptq"])
def test_the_verb(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny.write_safetensors(tmp_path / "m", "llama")
    flow.build(str(model), tmp_path / "image", recipe=recipe)
    (tmp_path / "t.txt").write_text("the quick brown fox jumps over the lazy dog " * 20)
    command = ["eval", str(tmp_path / "image"), "--text", str(tmp_path / "t.txt"), "--windows", "1"]
    command += ["--context", "64", "--steps"]
    assert cli.main([*command, "--json"]) == 2
    assert "give --against MODEL too" in capsys.readouterr().err
    assert cli.main([*command, "--against", str(model), "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert sum(step["share"] for step in steps) == pytest.approx(1)
    # A tied head that was rotated turns the residual, which is quantised again.
    assert len(steps) == 15 + (recipe == "4gptq")
    assert cli.main([*command, "--against", str(model)]) == 0
    assert "the worst single ones" in capsys.readouterr().out
