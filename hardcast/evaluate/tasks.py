"""Tasks of the lm-eval harness on an image: multiple choice, exact answers, whatever a task asks.

The same of its float source, where likelihoods are asked. The harness and its data sets are brought
in only when a task is named. Needs the extra `lm-eval`.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError
from hardcast.evaluate.basics import basic_names
from hardcast.evaluate.lanes import LANES, Executor
from hardcast.evaluate.likelihood import Scorer
from hardcast.evaluate.task_result import TaskResult

Progress = Callable[[str, int, int | None], None]

INSTALL = "pip install 'hardcast[lm-eval]'"


def run_tasks(
    executor: Executor,
    names: Sequence[str],
    *,
    limit: int | None = None,
    num_fewshot: int | None = None,
    include_path: Path | None = None,
    chat: bool = False,
    lanes: int = LANES,
    scorer: Scorer | None = None,
    progress: Progress = lambda description, done, total: None,
) -> tuple[dict[str, TaskResult], int]:
    """Asks the chip every question of the named tasks.

    names: tasks, groups or tags that the harness knows, or that lie in `include_path`.
    limit: at most so many questions a task. num_fewshot: solved examples before each question,
    instead of the task's own number. chat: questions in the image's chat template. scorer: gives
    the likelihoods in the executor's place, in its image's tokens and context.
    Returns results by name (of groups and their tasks as well), and how many requests lost their
    oldest tokens to the chip's context.

    Raises HardcastError without the extra, for an unknown task, for a task whose data cannot be
    had (no network, another extra missing), and with `scorer` for one whose answers are generated.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise HardcastError(
            f"task {names[0]!r:.60} needs the lm-eval harness ({INSTALL}); {_own()}"
        )
    if include_path is not None and not include_path.is_dir():
        raise HardcastError(f"{include_path}: no folder of tasks")
    from lm_eval import simple_evaluate

    from hardcast.evaluate.lm_harness import HardcastLM

    # What matters of their remarks is said in our own words; what fails, once, in the error line.
    for name in ("lm_eval", "datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    model = HardcastLM(executor, lanes=lanes, scorer=scorer, progress=progress)
    if chat and model.chat_template(True) is None:
        raise HardcastError(f"{executor.image.path}: its tokenizer has no chat template")
    manager = task_manager(names, include_path)
    tasks = load_tasks(manager, names, progress)
    if scorer is not None:
        _refuse_generation(tasks)
    found = simple_evaluate(
        model,
        tasks=tasks,
        limit=limit,
        num_fewshot=num_fewshot,
        apply_chat_template=chat,
        log_samples=True,
        task_manager=manager,
    )
    return {name: _result(found, name) for name in found["results"]}, model.truncated


def task_manager(names: Sequence[str], include_path: Path | None) -> Any:
    """The harness's index of tasks: of the folder alone where that has all, which saves reading
    the harness's own ten thousand.
    """
    from lm_eval.tasks import TaskManager

    if include_path is None:
        return TaskManager()
    own = TaskManager(include_path=str(include_path), include_defaults=False)
    if set(names) <= set(own.all_subtasks):
        return own
    return TaskManager(include_path=str(include_path))


def load_tasks(manager: Any, names: Sequence[str], progress: Progress) -> list[Any]:
    """The tasks and groups themselves, data included. Raises HardcastError naming the task."""
    for name in names:
        if name not in manager.all_tasks:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see `lm_eval ls tasks`"
            raise HardcastError(f"no task {name!r:.60}; {hint}; {_own()}")
    top: dict[str, Any] = {}
    for done, name in enumerate(dict.fromkeys(names)):
        progress("data of tasks", done, len(names))
        try:
            loaded = manager.load([name])
        except (
            Exception
        ) as error:  # foreign code and data: whatever it raises, the task is at fault
            raise HardcastError(
                f"task {name}: {_reason(error)}; its data come from a hub when it is first run: "
                f"is there a network?"
            ) from None
        groups = loaded.get("groups") or {}
        inside = {
            child for children in (loaded.get("group_map") or {}).values() for child in children
        }
        members = {task.task_name for group in groups.values() for task in group.get_all_tasks()}
        top.update({key: group for key, group in groups.items() if key not in inside})
        top.update({key: task for key, task in loaded["tasks"].items() if key not in members})
    progress("data of tasks", len(names), len(names))
    return list(top.values())


def _own() -> str:
    return f"without it there are basics, which is {', '.join(basic_names())}"


def _refuse_generation(tasks: Sequence[Any]) -> None:
    for top in tasks:
        for task in top.get_all_tasks() if hasattr(top, "get_all_tasks") else [top]:
            if task.OUTPUT_TYPE == "generate_until":
                raise HardcastError(
                    f"task {task.task_name} generates answers: --against compares likelihoods "
                    f"(multiple choice and the like); ask it without --against"
                )


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:200]


def _result(found: dict[str, Any], name: str) -> TaskResult:
    """One entry of the harness's results, with its "acc,none" as "acc"."""
    metrics: dict[str, float | None] = {}
    for key, value in found["results"][name].items():
        metric, comma, kind = key.partition(",")
        if comma:
            number = isinstance(value, int | float) or hasattr(value, "__float__")
            metrics[metric if kind == "none" else key] = float(value) if number else None
    samples = (found.get("n-samples") or {}).get(name) or {}
    shots = (found.get("n-shot") or {}).get(name)
    version = (found.get("versions") or {}).get(name)
    return TaskResult(
        metrics,
        samples.get("effective"),
        shots if isinstance(shots, int) else None,
        None if version in (None, "Yaml") else str(version),  # "Yaml": the task states none
        _values((found.get("samples") or {}).get(name) or [], metrics),
    )


def _values(
    samples: Sequence[dict[str, Any]], metrics: dict[str, float | None]
) -> dict[str, list[float]]:
    """The harness's records of single questions, by metric and in the questions' order.

    Left out are metrics that are no number of each question, or no mean of these (perplexity).
    """
    found: dict[str, list[float]] = {}
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        for metric in sample["metrics"]:
            kind = sample["filter"]
            value, key = sample[metric], metric if kind == "none" else f"{metric},{kind}"
            if isinstance(value, int | float) or hasattr(value, "__float__"):
                found.setdefault(key, []).append(float(value))
    return {
        key: values
        for key, values in found.items()
        if (whole := metrics.get(key)) is not None
        and math.isclose(math.fsum(values) / len(values), whole, rel_tol=1e-6, abs_tol=1e-9)
    }
