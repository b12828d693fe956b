"""A search gives the same results whoever works on it, and goes on where it stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from hardcast.errors import HardcastError
from hardcast.explore import search as room
from hardcast.explore import workers
from hardcast.explore.evaluate import Result, Task, evaluate_all
from hardcast.explore.journal import Journal, key_of
from hardcast.explore.search import search
from hardcast.explore.workers import Batch, Results
from tests.explore.small import task


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BATCH", 7)


@pytest.mark.parametrize("how", ["here", "processes", "threads"])
def test_everybody_finds_the_same(how: str) -> None:
    small = task()
    by = {"here": workers.here, "processes": workers.processes(2), "threads": workers.threads(2)}
    points = range(small.space.size)
    assert search(small, points, by[how]) == evaluate_all(small, points)


def test_progress_ends_with_all() -> None:
    told: list[tuple[str, int, int | None]] = []
    search(task(), range(20), workers.here, progress=lambda *args: told.append(args))
    assert [done for _, done, _ in told] == [0, 7, 14, 20]
    assert {(name, total) for name, _, total in told} == {("explore", 20)}


def stopping(after: int) -> workers.Workers:
    """Workers that are interrupted after so many batches."""

    def work(small: Task, batches: Iterable[Batch]) -> Results:
        for count, batch in enumerate(batches):
            if count == after:
                raise KeyboardInterrupt
            yield evaluate_all(small, batch)

    return work


def test_what_the_journal_has_is_not_done_again(tmp_path: Path) -> None:
    small, seen = task(), []

    def watching(given: Task, batches: Iterable[Batch]) -> Results:
        for batch in batches:
            seen.extend(batch)
            yield evaluate_all(given, batch)

    with Journal(tmp_path / "j", key_of(small)) as journal, pytest.raises(KeyboardInterrupt):
        search(small, range(40), stopping(3), journal)
    with Journal(tmp_path / "j", key_of(small)) as journal:
        assert len(journal.results) == 21
        found = search(small, range(50), watching, journal)
    assert seen == list(range(21, 50))
    assert found == evaluate_all(small, range(50))


def test_a_smaller_search_takes_its_part_of_a_journal(tmp_path: Path) -> None:
    small = task()
    with Journal(tmp_path / "j", key_of(small)) as journal:
        search(small, range(30), workers.here, journal)
    with Journal(tmp_path / "j", key_of(small)) as journal:
        assert search(small, [3, 5, 29], stopping(0), journal) == [
            evaluate_all(small, [point])[0] for point in (3, 5, 29)
        ]


def test_a_process_that_the_system_ends_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_evaluate", _killed)
    with pytest.raises(HardcastError, match="try fewer --jobs"):
        search(task(), range(30), workers.processes(2))


def _killed(batch: Batch) -> list[Result]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(batch)
