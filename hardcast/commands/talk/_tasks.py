"""`eval --tasks`: our own tasks and the harness's, on the chip and, if asked, its float source."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from functools import partial
from typing import Any

from hardcast.commands.talk._source import float_model, source_of
from hardcast.commands.talk._talk import executor_of, tokenizer_of
from hardcast.commands.talk._verdict import comparison_table, tasks_table, verdict
from hardcast.console import Bars, Console
from hardcast.errors import HardcastError
from hardcast.evaluate import tasks as harness
from hardcast.evaluate.basics import ALL, Basic, ask_basics, get_basics
from hardcast.evaluate.likelihood import Scorer, score
from hardcast.evaluate.packed import PackedModel
from hardcast.evaluate.paired import compare
from hardcast.evaluate.task_result import TaskResult
from hardcast.image import Image, open_image

HARNESS_ONLY = ("--num-fewshot", "--include-path", "--chat")

Results = dict[str, TaskResult]


def run_tasks(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The verb with --tasks. Raises HardcastError as the rooms do, and for options out of place."""
    own, foreign = _named(args)
    image = open_image(args.image)
    executor = executor_of(image, args.executor, args.threads, args.path)

    source: Results = {}
    with console.progress() as bars:
        if args.against:
            # First: what the float source cannot be asked is known before the chip has worked.
            model = float_model(source_of(args.against, image, bars), image, PackedModel)
            scorer = partial(model.score, size=image.context)
            source, _ = _ask(args, executor, own, foreign, scorer, bars)
        results, truncated = _ask(args, executor, own, foreign, None, bars)
    found = {
        "tasks": {name: result.metrics for name, result in results.items()},
        "questions": {name: result.samples for name, result in results.items()},
        "num_fewshot": {name: result.num_fewshot for name, result in results.items()},
        "versions": {name: result.version for name, result in results.items()},
        "truncated": truncated,
        "digest": image.digest,
        "executor": args.executor,
    }
    if args.against:
        tasks, together = compare(_values(results), _values(source))
        console.print(comparison_table(tasks, together))
        console.print("\n" + verdict(tasks, together))
        found["comparison"] = {
            "tasks": {
                name: {metric: asdict(pair) for metric, pair in metrics.items()}
                for name, metrics in tasks.items()
            },
            "together": {metric: asdict(pair) for metric, pair in together.items()},
        }
    else:
        console.print(tasks_table(results))
    if truncated:
        console.print(f"{truncated} requests exceeded the chip's context and lost their beginning")
    return found


def _named(args: argparse.Namespace) -> tuple[list[Basic], list[str]]:
    """Our own tasks that were named, and the harness's."""
    names = [name.strip() for name in args.tasks.split(",") if name.strip()]
    if not names:
        raise HardcastError(f"--tasks: name at least one task, for example --tasks {ALL}")
    foreign = [name for name in names if name.partition("_")[0] != ALL]
    own = get_basics([name for name in names if name not in foreign])
    for option in HARNESS_ONLY:
        given = getattr(args, option.removeprefix("--").replace("-", "_"))
        if own and given is not None and not (foreign and option == "--include-path"):
            raise HardcastError(f"{option} has no meaning with {own[0].name}: it is lm-eval's")
    return own, foreign


def _ask(
    args: argparse.Namespace,
    executor: Any,
    own: list[Basic],
    foreign: list[str],
    scorer: Scorer | None,
    bars: Bars,
) -> tuple[Results, int]:
    """Every task's results, and how many requests lost their beginning.

    scorer: of the float source; None asks the chip.
    """
    image: Image = executor.image
    results: Results = {}
    truncated = 0
    who = "chip" if scorer is None else "float source"

    def progress(what: str, done: int, total: int | None) -> None:
        bars(f"{who}: {what}", done, total)

    if own:
        results, truncated = ask_basics(
            own,
            tokenizer_of(image),
            scorer or (lambda requests, done: score(executor, requests, done=done)),
            image.context,
            limit=args.limit,
            progress=progress,
        )
    if foreign:
        # The harness's own bars would be drawn into ours; it reads the switch as it is imported.
        os.environ.setdefault("TQDM_DISABLE", "1")
        more, lost = harness.run_tasks(
            executor,
            foreign,
            limit=args.limit,
            num_fewshot=args.num_fewshot,
            include_path=args.include_path,
            chat=bool(args.chat),
            scorer=scorer,
            progress=progress,
        )
        results, truncated = results | more, truncated + lost
    return results, truncated


def _values(results: Results) -> dict[str, dict[str, list[float]]]:
    return {name: result.values for name, result in results.items()}
