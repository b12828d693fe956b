"""How likely the chip finds given tokens: log-probabilities, and choices after a shared context."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hardcast.evaluate.lanes import BLOCK, LANES, Executor, Lane, Steps, run_lanes


@dataclass(frozen=True)
class Score:
    """log_probability: natural logarithm, of the whole continuation after its context.

    greedy: whether each of its tokens is the one with the largest logit (the first of equals).
    """

    log_probability: float
    greedy: bool


def log_probabilities(
    logits: np.ndarray, unit: float, targets: Sequence[int] | np.ndarray
) -> list[float]:
    """Natural log-probability of one target a row.

    logits: int32 or float[n, vocab_size]. unit: what one step of a logit is worth.
    targets: n token ids.

    A row is worked on alone, so a value does not depend on the rows beside it, down to the last
    bit, and the row stays in the processor's cache.
    """
    found = []
    for row, target in zip(logits, targets, strict=True):
        real = row.astype(np.float64)
        real *= unit
        real -= real.max()
        chosen = float(real[target])
        found.append(chosen - math.log(float(np.exp(real, out=real).sum())))
    return found


Requests = Sequence[tuple[Sequence[int], Sequence[int]]]
Scorer = Callable[[Requests, Callable[[int], None]], list[Score]]
"""Scores of pairs; called with (pairs, what is told how many were finished just now)."""


def by_context(requests: Requests, size: int) -> dict[tuple[int, ...], list[int]]:
    """Indices of (context, continuation) pairs by context, as much of it as fits a chip's `size`.

    Raises ValueError for a pair without a token on either side, or a continuation beyond `size`.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, (context, continuation) in enumerate(requests):
        room = size + 1 - len(continuation)  # the last token is only predicted
        if not (context and continuation and room >= 1):
            raise ValueError(f"pair {index}: {len(context)} + {len(continuation)} tokens")
        groups.setdefault(tuple(context[-room:]), []).append(index)
    return groups


def score(
    executor: Executor,
    requests: Requests,
    *,
    lanes: int = LANES,
    done: Callable[[int], None] | None = None,
) -> list[Score]:
    """Scores of (context, continuation) pairs of token ids, in their order.

    Continuations of one context share its keys and values; contexts that begin alike share the
    beginning. Where a pair is longer than the chip's context and one more token (the last one is
    only predicted), the context loses its oldest tokens.

    requests: each with at least one token on either side, the continuation no longer than the
    chip's context. done: called with how many pairs were finished just now.
    """
    groups = by_context(requests, executor.image.context)
    scores: dict[int, Score] = {}
    unit = math.ldexp(1.0, -executor.image.points.logits)

    def job(context: tuple[int, ...], indices: list[int]) -> Callable[[Lane], Steps[int]]:
        # Alike ones come after one another; they are run once.
        wanted: dict[tuple[int, ...], list[int]] = {}
        for index in indices:
            wanted.setdefault(tuple(requests[index][1]), []).append(index)

        def steps(lane: Lane) -> Steps[int]:
            kept = lane.keep(context[:-1])
            first = yield context[kept:], "last"
            for continuation, same in sorted(wanted.items()):
                found = yield from _score_one(lane, len(context), first, continuation, unit)
                scores.update(dict.fromkeys(same, found))
            return len(indices)

        return steps

    jobs = [job(context, groups[context]) for context in sorted(groups)]
    run_lanes(executor, jobs, lanes=lanes, done=done)
    return [scores[index] for index in range(len(requests))]


def _score_one(
    lane: Lane, length: int, first: np.ndarray, continuation: tuple[int, ...], unit: float
) -> Steps[Score]:
    """One continuation after a context of `length` tokens, whose last logits are `first`."""
    lane.truncate(length)
    terms = log_probabilities(first, unit, continuation[:1])
    greedy = int(first[0].argmax()) == continuation[0]
    for start in range(0, len(continuation) - 1, BLOCK):
        tokens = continuation[start : min(start + BLOCK, len(continuation) - 1)]
        targets = continuation[start + 1 : start + 1 + len(tokens)]
        logits = yield tokens, "all"
        terms += log_probabilities(logits, unit, targets)
        greedy = greedy and logits.argmax(axis=1).tolist() == list(targets)
    return Score(math.fsum(terms), greedy)
