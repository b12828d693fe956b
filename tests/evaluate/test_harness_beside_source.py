"""The harness's tasks on a chip and its float source; our own questions through the harness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardcast import cli, flow
from hardcast.engine import Engine
from hardcast.evaluate.basics import ask_basics, get_basics
from hardcast.evaluate.likelihood import score
from hardcast.evaluate.tasks import run_tasks
from hardcast.image import open_image
from hardcast.tokenizer import Tokenizer, TokenizerSpec
from tests import tiny
from tests.evaluate.harness_tasks import ANSWER_TASK, CHOICE_TASK, CHOICES, write_task

pytest.importorskip("lm_eval", reason="the lm-eval extra is not installed: hardcast[lm-eval]")


@pytest.fixture(scope="module")
def image_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    source = tiny.write_gguf(folder / "tiny.gguf", "llama", quant="Q4_1")
    flow.build(str(source), folder / "tiny.chip", recipe="4bit")
    return folder / "tiny.chip"


def test_the_harness_beside_the_float_source(
    image_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the harness's records of single questions; the float side by the harness as well."""
    write_task(tmp_path, CHOICE_TASK, CHOICES)
    source = str(image_path.parent / "tiny.gguf")
    argv = ["eval", str(image_path), "--tasks", "tiny_choice,basics_words", "--limit", "3"]
    argv += ["--include-path", str(tmp_path), "--against", source, "--json"]
    assert cli.main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    compared = found["comparison"]["tasks"]["tiny_choice"]
    assert set(compared) == {"acc", "acc_norm"}
    measured = found["tasks"]["tiny_choice"]
    for metric, pair in compared.items():
        assert pair["chip"] == pytest.approx(measured[metric])
        assert pair["chip_stderr"] == pytest.approx(measured[f"{metric}_stderr"])
        assert (pair["lost"], pair["gained"], pair["questions"]) == (0, 0, 3)
    assert found["comparison"]["together"]["acc"]["questions"] == 6
    # Solved examples and the chat template reach both sides alike.
    alone = [word for word in argv if word != "tiny_choice,basics_words"]
    alone.insert(3, "tiny_choice")
    assert cli.main([*alone, "--chat", "--num-fewshot", "1"]) == 0
    pair = json.loads(capsys.readouterr().out)["comparison"]["together"]["acc"]
    assert pair["chip"] == pair["source"]


def test_our_own_questions_score_as_the_harness_would(image_path: Path, tmp_path: Path) -> None:
    """The same questions as tasks of the harness."""
    for task in get_basics(["basics_facts", "basics_code"]):
        rows = [
            {"text": question.context, "choices": question.choices, "answer": 0}
            for question in task.questions[:12]
        ]
        asked = {**CHOICE_TASK, "task": task.name.replace("basics", "copy")}
        asked |= {"doc_to_text": "{{text}}", "target_delimiter": ""}
        write_task(tmp_path, asked, rows)
    engine = Engine(open_image(image_path))
    theirs, _ = run_tasks(engine, ["copy_facts", "copy_code"], include_path=tmp_path)
    ours, _ = ask_basics(
        get_basics(["basics_facts", "basics_code"]),
        Tokenizer(TokenizerSpec.from_json(engine.image.tokenizer_json())),
        lambda requests, done: score(engine, requests, done=done),
        engine.image.context,
        limit=12,
    )
    for kind in ("facts", "code"):
        found = ours[f"basics_{kind}"].metrics
        assert {key: found[key] for key in theirs[f"copy_{kind}"].metrics} == pytest.approx(
            theirs[f"copy_{kind}"].metrics
        )


def test_generated_answers_are_not_compared(
    image_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path, ANSWER_TASK, [{"q": "x", "answer": "y"}])
    argv = ["eval", str(image_path), "--tasks", "tiny_answer", "--include-path", str(tmp_path)]
    assert cli.main([*argv, "--against", str(image_path.parent / "tiny.gguf")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("hardcast: task tiny_answer generates answers: --against compares")


def test_only_means_of_questions_are_kept() -> None:
    """A perplexity is no mean of what a question gave."""
    from hardcast.evaluate.tasks import _values

    samples = [
        {"doc_id": i, "filter": "none", "metrics": ["acc", "ppl", "f1"], "acc": a, "ppl": -1.0}
        | {"f1": (0, 1)}
        for i, a in ((1, 1.0), (0, 0.0))
    ]
    assert _values(samples, {"acc": 0.5, "ppl": 2.718, "f1": 0.1}) == {"acc": [0.0, 1.0]}
