"""Questions of our own (basics/*.toml), by the likelihood of choices: no network and no harness.

A file has questions: what comes before, the right continuation, one or more wrong ones.
Found by listing the folder; `basics` names them all.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path

from hardcast.errors import HardcastError
from hardcast.evaluate.likelihood import Score, Scorer
from hardcast.evaluate.task_result import TaskResult, mean_and_error
from hardcast.tokenizer import Tokenizer

FOLDER = Path(str(resources.files(__package__))) / "basics"
ALL = "basics"


@dataclass(frozen=True)
class Question:
    """choices: continuations of `context`, the right one first."""

    context: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Basic:
    """A task. version: of its questions; another one where any of them is another."""

    name: str
    version: str
    questions: tuple[Question, ...]


def basic_names() -> list[str]:
    """`basics_agreement` and the rest, sorted: one a file."""
    return sorted(f"{ALL}_{path.stem}" for path in FOLDER.glob("*.toml"))


def is_basic(name: str) -> bool:
    """Whether a name is of a task here, or of all."""
    return name == ALL or name in basic_names()


def get_basics(names: Sequence[str]) -> list[Basic]:
    """The named tasks, each once, in the order of their names.

    Raises HardcastError for a name that is_basic has not.
    """
    for name in names:
        if not is_basic(name):
            known = ", ".join([ALL, *basic_names()])
            raise HardcastError(f"no task {name!r:.60} among our own: {known}")
    every = basic_names() if ALL in names else sorted(set(names))
    return [read_basic(FOLDER / f"{name.removeprefix(f'{ALL}_')}.toml") for name in every]


def read_basic(path: Path) -> Basic:
    """The task that a file holds."""
    data = path.read_bytes()
    given = tomllib.loads(data.decode("utf-8"))
    questions = tuple(Question(first, tuple(rest)) for first, *rest in given["questions"])
    version = hashlib.sha256(data).hexdigest()[:8]
    return Basic(f"{ALL}_{path.stem}", version, questions)


def ask_basics(
    tasks: Sequence[Basic],
    tokenizer: Tokenizer,
    scorer: Scorer,
    size: int,
    *,
    limit: int | None = None,
    progress: Callable[[str, int, int | None], None] = lambda description, done, total: None,
) -> tuple[dict[str, TaskResult], int]:
    """Results by task, and how many choices lost their beginning to the chip's context.

    size: that context. limit: at most so many questions a task, the first ones.

    acc: the right choice is the likeliest; acc_norm: after division by its length in letters;
    margin: its log-probability less that of the likeliest wrong one, in nats. A tie is wrong.
    Raises HardcastError where a choice exceeds `size`, and for a tokenizer that makes one token of
    a whole question.
    """
    asked = {task.name: task.questions[:limit] for task in tasks}
    pairs = [
        pair
        for questions in asked.values()
        for question in questions
        for pair in _encode(tokenizer, question, size)
    ]
    truncated = sum(len(before) + len(after) > size + 1 for before, after in pairs)
    finished = 0

    def done(count: int) -> None:
        nonlocal finished
        finished += count
        progress("log-likelihoods", finished, len(pairs))

    done(0)
    scores = iter(scorer(pairs, done))
    found = {}
    for task in tasks:
        values: dict[str, list[float]] = {"acc": [], "acc_norm": [], "margin": []}
        for question in asked[task.name]:
            for metric, value in _judge(question, list(islice(scores, len(question.choices)))):
                values[metric].append(value)
        found[task.name] = _result(task, asked[task.name], values)
    return found, truncated


def _encode(
    tokenizer: Tokenizer, question: Question, size: int
) -> list[tuple[list[int], list[int]]]:
    """(context, continuation) of each choice, in tokens.

    Each is encoded as one text, which goes on: a model's habit of ending one is left out. The
    context ends where the context alone does, as in lm-eval, but before a token that is made of
    its end and of a choice's beginning (`)` and `:`).
    """
    begins = tokenizer.spec.add_bos
    alone, *wholes = (
        tokenizer.encode(question.context + choice, add_bos=begins)
        for choice in ("", *question.choices)
    )
    same = zip(alone, *(whole[:-1] for whole in wholes), strict=False)
    shared = next((i for i, at in enumerate(same) if len(set(at)) > 1), None)
    if shared is None:
        shared = min(len(alone), *(len(whole) - 1 for whole in wholes))
    longest = max(len(whole) for whole in wholes) - shared
    if shared < 1 or longest > size:
        raise HardcastError(
            f"{question.context!r:.60}: {shared} tokens before its choices and {longest} in one, "
            f"where the chip's context is {size}; build with a larger --context"
        )
    return [(whole[:shared], whole[shared:]) for whole in wholes]


def _judge(question: Question, scores: Sequence[Score]) -> list[tuple[str, float]]:
    """Metrics of one question, of the scores of its choices."""
    logs = [score.log_probability for score in scores]
    each = [log / len(choice) for log, choice in zip(logs, question.choices, strict=True)]
    return [
        ("acc", float(logs[0] > max(logs[1:]))),
        ("acc_norm", float(each[0] > max(each[1:]))),
        ("margin", logs[0] - max(logs[1:])),
    ]


def _result(
    task: Basic, questions: Sequence[Question], values: dict[str, list[float]]
) -> TaskResult:
    metrics: dict[str, float | None] = {}
    for metric, found in values.items():
        metrics[metric], metrics[f"{metric}_stderr"] = mean_and_error(found)
    chance = sum(1 / len(question.choices) for question in questions) / len(questions)
    return TaskResult(metrics, len(questions), 0, task.version, values, chance)
