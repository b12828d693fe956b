"""SmolLM2 on our own thousand questions, beside its float source: `make verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardcast import cli, flow
from tests.real_model import smollm2

pytestmark = pytest.mark.verify


def test_what_a_4_bit_chip_loses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every task tells: far above guessing, and not all right. The chip is within two points."""
    image, model = str(tmp_path / "smollm2.image"), str(smollm2())
    flow.build(model, Path(image))
    assert cli.main(["eval", image, "--tasks", "basics", "--against", model, "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)["comparison"]
    for name, found in compared["tasks"].items():
        guessing = 0.5 if name == "basics_agreement" else 0.34
        assert guessing + 0.15 < found["acc"]["chip"] < 0.97, name
        assert found["acc"]["p_holm"] > 0.05, name
    whole = compared["together"]
    print(whole)
    assert whole["acc"]["questions"] > 1000
    assert -0.02 < whole["acc"]["difference"] < 0.01
    assert abs(whole["margin"]["difference"]) < 0.05
    assert whole["acc"]["detectable"] < 0.025
