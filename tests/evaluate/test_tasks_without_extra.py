"""Without the lm-eval extra `hardcast eval --tasks` says in one line how to get it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hardcast import cli, flow
from tests import tiny


def test_the_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "tiny.chip"
    flow.build(
        str(tiny.write_gguf(tmp_path / "tiny.gguf", "llama", quant="Q4_1")), image, recipe="4bit"
    )
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "lm_eval" else real(name)
    )
    assert cli.main(["eval", str(image), "--tasks", "arc_easy"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "hardcast: task 'arc_easy' needs the lm-eval harness (pip install 'hardcast[lm-eval]'); "
        "without it there are basics, which is basics_agreement, "
    )
    assert said.count("\n") == 1
