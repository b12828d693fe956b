"""Scores of tasks for people: tables, and what they say of the chip in words."""

from __future__ import annotations

from collections.abc import Mapping

from hardcast.console import table
from hardcast.evaluate.paired import Paired
from hardcast.evaluate.significance import ALPHA
from hardcast.evaluate.task_result import TaskResult

HEAD = "acc"  # the metric that words are about, where there is one
NONE = "-"

Compared = Mapping[str, Mapping[str, Paired]]


def tasks_table(results: Mapping[str, TaskResult]) -> str:
    """A line a metric: what was asked, how often it was right, and the standard error."""
    rows = []
    chances = any(result.chance is not None for result in results.values())
    for name, result in results.items():
        for metric, value in result.metrics.items():
            head, comma, kind = metric.partition(",")
            if head.endswith("_stderr") or value is None:
                continue
            error = result.metrics.get(f"{head}_stderr{comma}{kind}")
            guessed = result.chance if head.startswith("acc") else None
            rows.append(
                [
                    name,
                    "" if result.num_fewshot is None else str(result.num_fewshot),
                    "" if result.samples is None else str(result.samples),
                    metric,
                    f"{value:.4f}",
                    "" if error is None else f"{error:.4f}",
                    *(["" if guessed is None else f"{guessed:.4f}"] if chances else []),
                ]
            )
    header = ["task", "shots", "questions", "metric", "value", "+-"]
    return table([*header, *(["guessing"] if chances else [])], rows)


def comparison_table(tasks: Compared, together: Mapping[str, Paired]) -> str:
    """A line a task and metric; shares in per cent, their differences in points."""
    rows = [
        _row(name, metric, pair)
        for name, metrics in tasks.items()
        for metric, pair in metrics.items()
        if pair.lost is not None or len(metrics) == 1
    ]
    if len(tasks) > 1:
        rows += [_row("together", metric, pair) for metric, pair in together.items()]
    header = "task metric questions float chip +- difference +- 95% lost gained p p(Holm)"
    return table(header.split(), rows)


def _row(name: str, metric: str, pair: Paired) -> list[str]:
    share = pair.lost is not None
    unit = 100 if share else 1

    def said(value: float | None, sign: str = "") -> str:
        return NONE if value is None else f"{value * unit:{sign}.{2 if share else 4}f}"

    return [
        name,
        metric,
        str(pair.questions),
        said(pair.source),
        said(pair.chip),
        said(pair.chip_stderr),
        said(pair.difference, "+"),
        said(pair.difference_stderr),
        NONE if pair.low is None else f"{said(pair.low, '+')} .. {said(pair.high, '+')}",
        NONE if pair.lost is None else str(pair.lost),
        NONE if pair.gained is None else str(pair.gained),
        NONE if pair.p is None else p_value(pair.p),
        NONE if pair.p_holm is None else p_value(pair.p_holm),
    ]


def p_value(p: float) -> str:
    """As many digits as matter."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def verdict(tasks: Compared, together: Mapping[str, Paired]) -> str:
    """What the comparison says, and what it could not have seen."""
    if not together:
        return "nothing to compare: no metric of these tasks is a mean over questions"
    metric = HEAD if HEAD in together else next(iter(together))
    lines = _words(metric, together[metric])
    if "margin" in together and metric != "margin":
        lines += _words("margin", together["margin"])[:1]
    tested = {name: found[metric].p_holm for name, found in tasks.items() if metric in found}
    if len(tested) > 1:
        differing = [name for name, p in tested.items() if p is not None and p < ALPHA]
        lines.append(
            f"of {len(tested)} tasks by themselves, {', '.join(differing) or 'none'} "
            f"differ{'' if len(differing) > 1 else 's'} (Holm's correction for so many tests)"
        )
    return "\n".join(lines)


def _words(metric: str, pair: Paired) -> list[str]:
    """One metric: whether a difference was seen, and which would have been."""
    share = pair.lost is not None
    unit, name = (" points", {HEAD: "accuracy"}.get(metric, metric)) if share else ("", metric)
    if metric == "margin":
        unit, name = " nats", "margin (log-probability of the right choice above the next)"
    if pair.p is None or pair.low is None or pair.high is None:
        return [f"{name}: too few questions, or no difference at all: nothing can be said"]

    def said(value: float, sign: str = "") -> str:
        return f"{value * 100:{sign}.1f}" if share else f"{value:{sign}.4f}"

    counts = f"; {pair.lost} answers lost, {pair.gained} gained" if share else ""
    how = f"p {p_value(pair.p)}{counts}, of {pair.questions} questions"
    if pair.differs:
        way = "lower" if pair.difference < 0 else "higher"
        ends = sorted((abs(pair.low), abs(pair.high)))
        lines = [
            f"the chip's {name} is {way} than its float source's by "
            f"{said(abs(pair.difference))}{unit}, at 95 % by {said(ends[0])} to {said(ends[1])} "
            f"({how})"
        ]
    else:
        lines = [
            f"no difference seen: at 95 % the chip's {name} is within {said(pair.low, '+')} .. "
            f"{said(pair.high, '+')}{unit} of its float source's ({how})"
        ]
    if pair.detectable is None:
        return [*lines, "so few questions could not have shown any difference"]
    least = said(pair.detectable)
    return [*lines, f"a true difference of {least}{unit} would be seen four times in five"]
