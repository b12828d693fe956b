"""What `hardcast eval --json` measured, read from its file."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError
from hardcast.files import check_file

LIMIT = 1 << 20
TOGETHER = "together"
# Key of --json: whether it is always there, and the least and the most that it can be.
NUMBERS = {
    "perplexity": (True, 1.0, math.inf),
    "tokens": (True, 1, math.inf),
    "perplexity_float": (False, 1.0, math.inf),
    "kl_mean": (False, -1e-6, math.inf),
    "top1_agreement": (False, 0.0, 1.0),
}


@dataclass(frozen=True)
class Task:
    """A score of a published task. error: standard error, None where there is none."""

    name: str
    questions: int | None
    metric: str
    value: float
    error: float | None


@dataclass(frozen=True)
class Loss:
    """A score beside the float source's on the same questions, as evaluate.paired.Paired has it.

    name: the task, or TOGETHER. shares: whether chip and source are shares of right answers.
    """

    name: str
    metric: str
    shares: bool
    questions: int
    chip: float
    chip_stderr: float
    source: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float | None


@dataclass(frozen=True)
class Quality:
    """A measurement of one image. file: its name, or several. text: what the perplexity is of.

    numbers: those of NUMBERS that were measured. tasks: scores, if tasks were asked. losses: scores
    beside the float source's, a task's or of all together, if that was asked.
    """

    file: str
    digest: str
    text: str
    executor: str
    numbers: dict[str, float]
    tasks: tuple[Task, ...]
    losses: tuple[Loss, ...] = ()

    @property
    def increase(self) -> float | None:
        """perplexity / perplexity_float - 1; None if the float model was not measured."""
        if "perplexity_float" not in self.numbers:
            return None
        return self.numbers["perplexity"] / self.numbers["perplexity_float"] - 1


def joined(parts: Sequence[Quality]) -> Quality:
    """One measurement of several files, at least one, all of one image.

    Raises HardcastError where two measured the same: a perplexity, or a task.
    """
    measured = [part for part in parts if part.numbers]
    names = [name for part in parts for name in {task.name for task in part.tasks}]
    twice = next((name for name in names if names.count(name) > 1), None)
    if len(measured) > 1 or twice is not None:
        what = "perplexity" if twice is None else f"task {twice}"
        raise HardcastError(
            f"{parts[0].file} and others: {what} is measured twice; name one file of each"
        )
    first = measured[0] if measured else parts[0]
    return dataclasses.replace(
        first,
        file=", ".join(part.file for part in parts),
        tasks=tuple(task for part in parts for task in part.tasks),
        losses=tuple(loss for part in parts for loss in part.losses),
    )


def read_quality(path: Path) -> Quality:
    """The measurement that a file holds.

    Raises HardcastError for a file that `hardcast eval --json` did not write, and lets OSError be.
    """
    check_file(path)
    with path.open("rb") as file:
        text = file.read(LIMIT + 1)
    try:
        data = json.loads(text) if len(text) <= LIMIT else None
    except (ValueError, RecursionError):
        data = None
    how = "`hardcast eval IMAGE --text FILE --json > quality.json` writes one"
    if not isinstance(data, dict) or not {"perplexity", "tasks"} & set(data):
        raise HardcastError(f"{path}: no measurement of an image's quality; {how}")
    digest = data.get("digest")
    if not isinstance(digest, str) or not digest:
        raise HardcastError(f"{path}: says of no image (digest is missing); {how}")
    numbers = {}
    if "perplexity" in data:
        for key, (needed, low, high) in NUMBERS.items():
            if needed or data.get(key) is not None:
                numbers[key] = _number(path, key, data.get(key), low, high)
    return Quality(
        file=path.name,
        digest=digest,
        text=_text(data.get("text")),
        executor=_text(data.get("executor")),
        numbers=numbers,
        tasks=tuple(_tasks(path, data)) if "tasks" in data else (),
        losses=tuple(_losses(path, data["comparison"])) if "comparison" in data else (),
    )


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _number(path: Path, key: str, value: Any, low: float, high: float) -> float:
    if type(value) in (int, float) and low <= value <= high and abs(value) <= sys.float_info.max:
        return float(value)
    raise HardcastError(f"{path}: {key:.60} is {value!r:.40}, which no measurement can give")


def _tasks(path: Path, data: dict[str, Any]) -> list[Task]:
    """The scores, as lm-eval names them: "acc,none" and its "acc_stderr,none"."""
    tasks, questions = data["tasks"], data.get("questions")
    if not isinstance(tasks, dict):
        raise HardcastError(f"{path}: tasks is {tasks!r:.40}, expected scores by name")
    counts = questions if isinstance(questions, dict) else {}
    found = []
    for name, metrics in tasks.items():
        if not isinstance(metrics, dict):
            raise HardcastError(f"{path}: task {name!r:.40} has no scores")
        for metric, value in metrics.items():
            head, comma, kind = metric.partition(",")
            if head.endswith("_stderr") or isinstance(value, bool | str) or value is None:
                continue
            error, count = metrics.get(f"{head}_stderr{comma}{kind}"), counts.get(name)
            found.append(
                Task(
                    name=name,
                    questions=None
                    if count is None
                    else int(_number(path, f"questions of {name}", count, 1, math.inf)),
                    metric=head,
                    value=_number(path, f"{name} {metric}", value, -math.inf, math.inf),
                    error=None
                    if error is None or isinstance(error, str)
                    else _number(path, f"{name} {metric} error", error, 0.0, math.inf),
                )
            )
    return found


def _losses(path: Path, found: Any) -> Iterator[Loss]:
    """Scores beside the float source's; those that too few questions gave no interval are none."""
    if not isinstance(found, dict) or not isinstance(found.get("tasks"), dict):
        raise HardcastError(f"{path}: comparison is {found!r:.40}, expected tasks and together")
    for name, metrics in [*found["tasks"].items(), (TOGETHER, found.get(TOGETHER))]:
        if not isinstance(metrics, dict) or not all(
            isinstance(pair, dict) for pair in metrics.values()
        ):
            raise HardcastError(f"{path}: the comparison of {name!r:.40} has no scores")
        for metric, pair in metrics.items():
            if any(pair.get(key) is None for key in ("low", "high", "p", "chip_stderr")):
                continue
            shares = pair.get("lost") is not None
            end = 1.0 if shares else math.inf

            def given(
                key: str,
                low: float,
                high: float,
                pair: dict[str, Any] = pair,
                where: str = f"{name} {metric}",
            ) -> float:
                return _number(path, f"{where} {key}", pair.get(key), low, high)

            yield Loss(
                name=name,
                metric=metric,
                shares=shares,
                questions=int(given("questions", 1, math.inf)),
                chip=given("chip", 0.0 if shares else -end, end),
                chip_stderr=given("chip_stderr", 0.0, end),
                source=given("source", 0.0 if shares else -end, end),
                difference=given("difference", -end, end),
                low=given("low", -end, end),
                high=given("high", -end, end),
                p=given("p", 0.0, 1.0),
                p_holm=None if pair.get("p_holm") is None else given("p_holm", 0.0, 1.0),
            )
