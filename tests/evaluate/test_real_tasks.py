"""SmolLM2 on a dozen questions of general knowledge through lm-eval: `make verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardcast import flow
from hardcast.engine import Engine
from hardcast.evaluate.tasks import run_tasks
from hardcast.image import open_image
from tests.real_model import smollm2

pytestmark = pytest.mark.verify

pytest.importorskip("lm_eval", reason="the lm-eval extra is not installed: hardcast[lm-eval]")

# Question; the right answer; three wrong ones.
QUESTIONS = """
What is the capital of France?|Paris|Berlin|Madrid|Rome
How many legs does a spider have?|eight|four|three|fifty
What do bees make?|honey|milk|wool|cement
Which planet is closest to the Sun?|Mercury|Neptune|Saturn|Jupiter
What is frozen water called?|ice|steam|sand|smoke
Who wrote the play Romeo and Juliet?|William Shakespeare|Isaac Newton|Charles Darwin|Plato
Which animal barks?|a dog|a fish|a snail|a butterfly
What is the chemical symbol of water?|H2O|NaCl|Fe|Au
In which season does it snow most?|winter|summer|midday|harvest
What organ pumps blood through the body?|the heart|the ear|the knee|the skin
What is used to write on a blackboard?|chalk|soup|butter|a spoon
Which gas do humans need to breathe?|oxygen|helium|neon|chlorine
""".strip().splitlines()


def test_a_dozen_questions(tmp_path: Path) -> None:
    """The instruct model knows most of them; the accuracy of guessing is a quarter."""
    data = tmp_path / "dozen.jsonl"
    rows = []
    for index, line in enumerate(QUESTIONS):
        question, right, *wrong = line.split("|")
        place = index % 4
        choices = [*wrong[:place], right, *wrong[place:]]
        rows.append({"question": question, "choices": choices, "answer": place})
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    task = {
        "task": "dozen",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(data)},
            "cache_dir": str(tmp_path / "cache"),
        },
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "dozen.yaml").write_text(json.dumps(task), "utf-8")
    flow.build(str(smollm2()), tmp_path / "smollm2.image")
    engine = Engine(open_image(tmp_path / "smollm2.image"))
    results, truncated = run_tasks(engine, ["dozen"], include_path=tmp_path)
    print(results["dozen"])
    assert truncated == 0 and results["dozen"].samples == 12
    accuracy = results["dozen"].metrics["acc"]
    assert accuracy is not None and accuracy >= 0.75
