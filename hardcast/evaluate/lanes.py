"""Several contexts through one executor at once, so that what is short alone shares the weights.

A job is a generator: it yields (tokens, "all" | "last" | "none") for its own context and is sent
the logits of them. Each round runs what all lanes wait for in one pass. The integers do not depend
on what runs beside them, so neither does any result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from hardcast.image import Image
from hardcast.numerics.sampling import SamplerSettings

LANES = 8
BLOCK = 32  # logits that a job should ask for at once: 50 MB for 8 lanes of a vocabulary of 49152

T = TypeVar("T")
Work = tuple[Sequence[int], str]
Steps = Generator[Work, np.ndarray, T]


class Session(Protocol):
    """The part of an executor's session that is needed here."""

    def forward(self, tokens: Sequence[int], logits: str = "last") -> np.ndarray: ...

    def truncate(self, length: int) -> None: ...


class Executor(Protocol):
    """Golden, engine, or any other executor of an image."""

    image: Image

    def session(self) -> Any: ...

    def sample(self, logits: np.ndarray, settings: SamplerSettings, position: int) -> int: ...


class Lane:
    """A session and the tokens that it holds, kept from job to job for what the texts share."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tokens: list[int] = []

    def keep(self, tokens: Sequence[int]) -> int:
        """Forgets all but the longest common beginning with `tokens`; returns its length."""
        limit = min(len(self.tokens), len(tokens))
        count = next((i for i in range(limit) if self.tokens[i] != tokens[i]), limit)
        self.truncate(count)
        return count

    def truncate(self, length: int) -> None:
        """Forgets every token from `length` on."""
        self.session.truncate(length)
        del self.tokens[length:]


def run_lanes(
    executor: Executor,
    jobs: Iterable[Callable[[Lane], Steps[T]]],
    *,
    lanes: int = LANES,
    done: Callable[[T], None] | None = None,
) -> list[T]:
    """Runs every job, up to `lanes` at once, and returns what each returned, in their order.

    Jobs whose texts begin alike should come after one another. done: called with each result as
    it comes.
    """
    results: dict[int, T] = {}
    waiting = enumerate(jobs)
    idle = [Lane(executor.session()) for _ in range(lanes)]
    busy: list[tuple[Lane, int, Steps[T], Work]] = []

    def advance(lane: Lane, index: int, steps: Steps[T], logits: np.ndarray | None) -> None:
        try:
            work = next(steps) if logits is None else steps.send(logits)
        except StopIteration as end:
            results[index] = end.value
            idle.append(lane)
            if done is not None:
                done(end.value)
        else:
            busy.append((lane, index, steps, work))

    while True:
        while idle and (job := next(waiting, None)) is not None:
            lane = idle.pop(0)
            advance(lane, job[0], job[1](lane), None)
        if not busy:
            return [results[index] for index in range(len(results))]
        running, busy = busy, []
        rows = forward_together(
            executor, [(lane.session, tokens, kind) for lane, _, _, (tokens, kind) in running]
        )
        for (lane, index, steps, (tokens, _)), logits in zip(running, rows, strict=True):
            lane.tokens += tokens
            advance(lane, index, steps, logits)


def forward_together(
    executor: Any, work: Sequence[tuple[Any, Sequence[int], str]]
) -> list[np.ndarray]:
    """Logits int32[n, vocab_size] of each (session, tokens, kind): in one pass if the executor can.

    Golden has no batches and runs one after another, with the same result.
    """
    if hasattr(executor, "forward_batch"):
        found: list[np.ndarray] = executor.forward_batch(work)
        return found
    return [session.forward(tokens, logits=kind) for session, tokens, kind in work]
