"""What a task gave: scores with their errors, and the values that they are means of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TaskResult:
    """metrics: as the harness names them ("acc", "acc_norm_stderr", "exact_match,strict-match").

    A standard error is None where the harness gives none. samples: questions asked.
    num_fewshot, version: of the task; None for a group of tasks. values: of each question, by
    metric, where they were kept. chance: accuracy of guessing, where it is known.
    """

    metrics: dict[str, float | None]
    samples: int | None
    num_fewshot: int | None
    version: str | None
    values: dict[str, list[float]] = field(default_factory=dict)
    chance: float | None = None


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error, as lm-eval's; None of a single value."""
    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return mean, math.sqrt(variance / count)
