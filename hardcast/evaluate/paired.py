"""The chip beside its float source on the same questions: what it lost, and how sure that is.

Both answer every question, so only the questions where they differ say anything; the error of a
difference is far smaller than that of either score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hardcast.evaluate.significance import (
    ALPHA,
    POWER,
    detectable,
    holm,
    mcnemar,
    share_interval,
    student_p,
    student_quantile,
)
from hardcast.evaluate.task_result import mean_and_error

Values = Mapping[str, Sequence[float]]  # by metric: of each question


@dataclass(frozen=True)
class Paired:
    """One metric of one task, or of several together. Differences are chip less source.

    chip, source: means, with their standard errors. low, high: 95 % interval of the difference.
    p: two-sided, exact (McNemar) where every value is 0 or 1, else Student's; p_holm: the same,
    corrected for all tasks that were tested. lost, gained: questions that only the source, and
    only the chip, answered rightly; None where values are not 0 or 1. detectable: the smallest true
    difference that would have been found in 80 % of such samples.

    What too few questions cannot tell is None, as is the error of a difference that is always 0
    but for shares.
    """

    questions: int
    chip: float
    chip_stderr: float | None
    source: float
    source_stderr: float | None
    difference: float
    difference_stderr: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    lost: int | None
    gained: int | None
    detectable: float | None

    @property
    def differs(self) -> bool:
        """Whether this difference, had it alone been asked for, is more than chance."""
        return self.p is not None and self.p < ALPHA


def pair(chip: Sequence[float], source: Sequence[float]) -> Paired:
    """Of one metric's values on the same questions, at least one, in the same order."""
    differences = [a - b for a, b in zip(chip, source, strict=True)]
    count, (difference, error) = len(differences), mean_and_error(differences)
    low = high = p = least = lost = gained = None
    if {*chip, *source} <= {0.0, 1.0}:
        lost, gained = differences.count(-1.0), differences.count(1.0)
        p, (low, high) = mcnemar(lost, gained), share_interval(lost, gained, count)
        least = detectable(lost + gained, count)
    elif error:
        beyond = student_quantile(ALPHA, count - 1)
        low, high = difference - beyond * error, difference + beyond * error
        p = student_p(difference / error, count - 1)
        least = (beyond + student_quantile(2 * (1 - POWER), count - 1)) * error
    return Paired(
        count,
        *mean_and_error(chip),
        *mean_and_error(source),
        difference,
        error,
        low,
        high,
        p,
        None,
        lost,
        gained,
        least,
    )


def compare(
    chip: Mapping[str, Values], source: Mapping[str, Values]
) -> tuple[dict[str, dict[str, Paired]], dict[str, Paired]]:
    """By task and metric; and by metric, of all tasks' questions together.

    chip, source: by task. What only one of both has is left out.
    """
    tasks = {
        task: {
            metric: pair(values, source[task][metric])
            for metric, values in metrics.items()
            if values and len(source.get(task, {}).get(metric, ())) == len(values)
        }
        for task, metrics in chip.items()
    }
    together = {}
    for metric in dict.fromkeys(metric for metrics in tasks.values() for metric in metrics):
        having = [task for task, metrics in tasks.items() if metric in metrics]
        tested = [task for task in having if tasks[task][metric].p is not None]
        p_values = [tasks[task][metric].p or 0.0 for task in tested]
        for task, corrected in zip(tested, holm(p_values), strict=True):
            tasks[task][metric] = replace(tasks[task][metric], p_holm=corrected)
        together[metric] = pair(
            [value for task in having for value in chip[task][metric]],
            [value for task in having for value in source[task][metric]],
        )
    return {task: metrics for task, metrics in tasks.items() if metrics}, together
