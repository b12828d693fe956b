"""Tasks of the harness for tests: a folder of their own, no network, no data but what is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHOICES = [
    {"q": "What is the capital of France?", "choices": ["Paris", "Berlin then", "x"], "answer": 0},
    {"q": "The quick brown fox", "choices": ["jumps over", "sleeps", "7"], "answer": 1},
    {"q": "Each cycle one activation", "choices": ["arrives", "leaves ", "é"], "answer": 0},
]
CHOICE_TASK: dict[str, Any] = {
    "task": "tiny_choice",
    "output_type": "multiple_choice",
    "doc_to_text": "Q: {{q}}\nA:",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm")
    ],
    "metadata": {"version": 3},
}
ANSWER_TASK: dict[str, Any] = {
    "task": "tiny_answer",
    "output_type": "generate_until",
    "doc_to_text": "Q: {{q}}\nA:",
    "doc_to_target": "answer",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def write_task(folder: Path, task: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """A task's YAML (JSON is YAML) beside its data; everything stays in `folder`."""
    data = folder / f"{task['task']}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    where = {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")}
    entries = {"dataset_path": "json", "dataset_kwargs": where, "test_split": "test"}
    (folder / f"{task['task']}.yaml").write_text(json.dumps({**task, **entries}), "utf-8")
