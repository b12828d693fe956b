"""eval --tasks through the command line: our own tasks, beside the float source, and in words."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from hardcast import cli
from hardcast.commands.talk._verdict import comparison_table, verdict
from hardcast.evaluate.basics import basic_names
from hardcast.evaluate.paired import compare
from tests import tiny

PAIRED_KEYS = (
    "questions chip chip_stderr source source_stderr difference difference_stderr low high p "
    "p_holm lost gained detectable"
).split()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", "llama", quant="Q4_1")


@pytest.fixture(scope="module")
def image(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("image") / "tiny.image"
    assert cli.main(["build", str(model), "-o", str(out)]) == 0
    return str(out)


@pytest.fixture(autouse=True)
def no_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own tasks need no extra."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "lm_eval" else real(name)
    )


def answered(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    assert isinstance(found, dict)
    return found


def test_the_chip_alone(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["eval", image, "--tasks", "basics", "--limit", "3"]
    found = answered(argv, capsys)
    assert list(found["tasks"]) == basic_names()
    assert set(found["questions"].values()) == {3}
    assert found["truncated"] == 0 and "comparison" not in found
    assert all(len(version) == 8 for version in found["versions"].values())
    assert set(found["tasks"]["basics_code"]) == {
        name + end for name in ("acc", "acc_norm", "margin") for end in ("", "_stderr")
    }
    assert cli.main(argv) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == "task shots questions metric value +- guessing".split()
    assert shown[1].split()[:4] == ["basics_agreement", "0", "3", "acc"]
    assert shown[1].split()[-1] == "0.5000"
    golden = answered([*argv, "--executor", "golden"], capsys)
    assert golden["tasks"] == found["tasks"]


def test_the_chip_beside_its_source(
    image: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["eval", image, "--tasks", "basics_agreement,basics_words", "--limit", "40"]
    alone = answered(argv, capsys)
    both = answered([*argv, "--against", str(model)], capsys)
    assert both["tasks"] == alone["tasks"]
    compared = both["comparison"]
    assert list(compared["tasks"]) == ["basics_agreement", "basics_words"]
    for name, metrics in compared["tasks"].items():
        for metric, pair in metrics.items():
            assert list(pair) == PAIRED_KEYS
            assert pair["chip"] == alone["tasks"][name][metric]
            assert pair["questions"] == 40 and pair["p_holm"] >= pair["p"]
    whole = compared["together"]
    assert whole["acc"]["questions"] == 80
    assert whole["acc"]["chip"] * 80 == pytest.approx(
        sum(metrics["acc"]["chip"] * 40 for metrics in compared["tasks"].values())
    )
    # A 4-bit chip of a file on the same grid: nearly the float model's margins, and not quite.
    assert whole["margin"]["chip"] != whole["margin"]["source"]
    assert abs(whole["margin"]["difference"]) < 0.2
    assert cli.main([*argv, "--against", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "at 95 %" in shown and "of 2 tasks by themselves" in shown
    assert shown.count("together") == 3


def test_mistakes_are_one_line(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny.write_safetensors(tmp_path / "other", "llama", num_hidden_layers=1)
    for argv, says in (
        (["basics_maths"], "no task 'basics_maths' among our own: basics, basics_agreement, "),
        (["arc_easy"], "'arc_easy' needs the lm-eval harness (pip install 'hardcast[lm-eval]'); "),
        (["arc_easy"], "basics_words"),
        (["basics", "--chat"], "--chat has no meaning with basics_agreement"),
        (["basics_code", "--num-fewshot", "1"], "--num-fewshot has no meaning with basics_code"),
        (["basics", "--include-path", str(tmp_path)], "--include-path has no meaning"),
        (["basics", "--limit", "0"], "--limit"),
        (["basics", "--steps"], "--steps has no meaning with --tasks"),
        (["basics", "--limit", "1", "--against", str(other)], "not the model of"),
    ):
        capsys.readouterr()
        assert cli.main(["eval", image, "--tasks", *argv]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1
        assert says in captured.err


def said(chip: dict[str, list[float]], source: dict[str, list[float]]) -> str:
    """The verdict on accuracies by task."""
    found = compare(
        {name: {"acc": values} for name, values in chip.items()},
        {name: {"acc": values} for name, values in source.items()},
    )
    assert comparison_table(*found).count("\n") == len(chip) + (len(chip) > 1)
    return verdict(*found)


def test_words_say_what_the_figures_do() -> None:
    right, wrong = [1.0], [0.0]
    lines = said(
        {"a": right * 90 + wrong * 10, "b": right * 50},
        {"a": right * 100, "b": right * 50},
    ).splitlines()
    assert lines[0].startswith("the chip's accuracy is lower than its float source's by 6.7 points")
    assert "10 answers lost, 0 gained, of 150 questions" in lines[0]
    assert "would be seen four times in five" in lines[1]
    assert lines[2].startswith("of 2 tasks by themselves, a differs")
    (first, *_) = said({"a": right * 100}, {"a": right * 95 + wrong * 5}).splitlines()
    assert first.startswith(
        "no difference seen: at 95 % the chip's accuracy is within -0.1 .. +9.9"
    )
    assert said({"a": right * 20}, {"a": wrong * 20}).startswith("the chip's accuracy is higher")


def test_words_do_not_claim_what_few_questions_cannot_show() -> None:
    lines = said({"a": [1.0] * 5}, {"a": [1.0] * 5}).splitlines()
    assert lines[0].startswith("no difference seen: at 95 % the chip's accuracy is within -")
    assert lines[1] == "so few questions could not have shown any difference"
    nothing = compare({"a": {"likelihood": [0.5]}}, {"a": {"likelihood": [0.7]}})
    assert "nothing can be said" in verdict(*nothing)
    assert "nothing to compare" in verdict({}, {})
