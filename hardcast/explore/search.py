"""A search: every point asked for, evaluated once, whoever does it and however often it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hardcast.explore.evaluate import Result, Task
from hardcast.explore.journal import Journal
from hardcast.explore.workers import Batch, Workers

BATCH = 64  # points; about a tenth of a second
Progress = Callable[[str, int, int | None], None]


def search(
    task: Task,
    points: Sequence[int],
    workers: Workers,
    journal: Journal | None = None,
    progress: Progress = lambda *_: None,
) -> list[Result]:
    """The results of `points`, in the order of their numbers.

    journal: what is in it already is not evaluated again, and what is evaluated is written to it as
    it comes. progress: told "explore", how many are done, of how many.
    Raises what the workers raise, and OSError of the journal's disk.
    """
    asked = set(points)
    found = {r.point: r for r in journal.results if r.point in asked} if journal else {}
    rest = [point for point in points if point not in found]
    progress("explore", len(found), len(points))
    batches = workers(task, _batches(rest))
    try:
        for results in batches:
            if journal:
                journal.append(results)
            found.update((result.point, result) for result in results)
            progress("explore", len(found), len(points))
    finally:
        batches.close()  # ends the workers now, not when somebody collects garbage
    return [found[point] for point in sorted(found)]


def _batches(points: Sequence[int]) -> Iterator[Batch]:
    for start in range(0, len(points), BATCH):
        yield points[start : start + BATCH]
