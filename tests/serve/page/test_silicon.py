"""Predicted rates: those of the verb that compares, each with its source; none is no error."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hardcast import cli, models
from hardcast.economics.cells import HERE
from hardcast.errors import HardcastError
from hardcast.models.shapes import get_shape
from hardcast.serve.page import silicon
from hardcast.serve.page.silicon import Silicon, SiliconRate, chip_rate, gpu_rates
from tests.serve.asking import build_image

COLUMNS = ("tokens_s_user", "mj_per_token", "usd_per_million_tokens")


def image_of(shape: str) -> Any:
    """As much of an image as there is to a shape: `chip` takes the one like the other."""
    return SimpleNamespace(path=shape, program=models.build_program(get_shape(shape).config))


def values(rate: SiliconRate) -> list[tuple[float | None, ...]]:
    cells = [getattr(rate, column) for column in COLUMNS]
    return [(cell.low, cell.value, cell.high) for cell in cells]


@pytest.mark.parametrize("shape", ["smollm2-135m", "llama-3.1-8b"])
def test_rates_are_those_of_compare(shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = Silicon(image_of(shape))
    assert found.chip is not None
    assert cli.main(["compare", shape, "--users", "1", "--json"]) == 0
    rows = {row["name"]: row["cells"] for row in json.loads(capsys.readouterr().out)["rows"]}
    of_verb = {
        name: [tuple(cells[column].get(k) for k in ("low", "value", "high")) for column in COLUMNS]
        for name, cells in rows.items()
    }
    assert values(found.chip) == of_verb["this chip, 1 user"]
    assert {gpu.name for gpu in found.gpus} == {"h100", "h200", "b200"}
    for gpu in found.gpus:
        assert values(gpu) == of_verb[gpu.name]


def test_every_rate_has_a_source_that_a_reader_can_look_up() -> None:
    found = Silicon(image_of("smollm2-135m"))
    assert found.chip is not None
    for rate in (found.chip, *found.gpus):
        written = rate.to_json()
        for column in COLUMNS:
            cell = written[column]
            assert cell["source"] not in ("", HERE) and cell["kind"] and cell["unit"]
            assert cell["low"] <= cell["value"] <= cell["high"]
    speeds = [gpu.tokens_s_user.value or 0 for gpu in found.gpus]
    assert speeds == sorted(speeds, reverse=True)
    assert (found.chip.node, found.chip.to_json()["preset"]) == ("n6", "smollm2-fast")


def test_an_answer_takes_its_tokens_times_the_rate() -> None:
    found = Silicon(image_of("smollm2-135m"))
    assert found.chip is not None
    answer = found.answer(1000)
    assert answer is not None and answer["kind"] == "prediction"
    assert answer["seconds"] * answer["tokens_per_second"] == pytest.approx(1000)
    assert answer["millijoules"] == pytest.approx(1000 * (found.chip.mj_per_token.value or 0))
    assert answer["usd"] == pytest.approx((found.chip.usd_per_million_tokens.value or 0) / 1000)
    none = found.answer(0)
    assert none is not None and none["seconds"] == 0


def test_another_node_gives_another_chip() -> None:
    image = image_of("smollm2-135m")
    speeds = {node: chip_rate(image, node).tokens_s_user.value for node in ("n6", "n28")}
    assert (speeds["n6"] or 0) > (speeds["n28"] or 0) > 0
    with pytest.raises(HardcastError, match="n66"):
        chip_rate(image, "n66")


def test_a_model_that_no_preset_suits_is_served_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(hidden_size: int) -> None:
        raise HardcastError(f"no preset suits hidden_size {hidden_size}")

    monkeypatch.setattr(silicon, "preset_for", none)
    found = Silicon(image_of("smollm2-135m"))
    assert found.chip is None and found.answer(10) is None


def test_a_model_of_no_shape_has_no_gpus_beside_it() -> None:
    image = image_of("smollm2-135m")
    config = dataclasses.replace(get_shape("smollm2-135m").config, vocab_size=40_000)
    image.program = models.build_program(config)
    assert gpu_rates(image) == ()
    assert Silicon(image).chip is not None


def test_a_tiny_image_has_neither(tmp_path: Path) -> None:
    found = Silicon(build_image(tmp_path))
    assert found.chip is None and found.gpus == ()


def test_nothing_is_reckoned_before_it_is_asked_for() -> None:
    found = Silicon(image_of("smollm2-135m"))
    assert "_found" not in vars(found)
    found.warm()
    assert "_found" in vars(found)
