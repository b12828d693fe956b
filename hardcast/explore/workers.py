"""Who evaluates the points: this process, processes beside it, threads, or a Dask cluster.

Each is a function (task, batches of points) -> batches of results, in the order in which they are
done. The answer does not depend on which.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker

from hardcast.errors import HardcastError
from hardcast.explore.evaluate import Result, Task, evaluate_all

Batch = Sequence[int]
Results = Generator[list[Result], None, None]
Workers = Callable[[Task, Iterable[Batch]], Results]
AHEAD = 4  # batches a worker has waiting for it


def here(task: Task, batches: Iterable[Batch]) -> Results:
    """One batch after the other in this process."""
    for batch in batches:
        yield evaluate_all(task, batch)


def processes(jobs: int) -> Workers:
    """So many processes of this machine, for as long as the search takes.

    Raises HardcastError where the system ends one of them.
    """
    if jobs == 1:
        return here

    def work(task: Task, batches: Iterable[Batch]) -> Results:
        # Spawned, not forked: a progress bar's thread may hold any lock at the moment of a fork.
        pool = futures.ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), initializer=_start, initargs=(task,)
        )
        try:
            with _uninterrupted():
                for _ in range(jobs):  # one begins whenever there is work and none is idle
                    pool.submit(_evaluate, ())
            yield from _in_turn(lambda batch: pool.submit(_evaluate, batch), batches, jobs * AHEAD)
        except BrokenProcessPool:
            raise HardcastError(
                "a process of the search was ended by the system, perhaps for lack of memory; "
                "try fewer --jobs"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    return work


def threads(jobs: int) -> Workers:
    """So many threads of this process; the interpreter lets one of them work at a time."""

    def work(task: Task, batches: Iterable[Batch]) -> Results:
        pool = futures.ThreadPoolExecutor(jobs)
        try:
            yield from _in_turn(
                lambda batch: pool.submit(evaluate_all, task, batch), batches, jobs * AHEAD
            )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    return work


def _in_turn(
    submit: Callable[[Batch], futures.Future[list[Result]]], batches: Iterable[Batch], most: int
) -> Results:
    """Results as they come, of at most so many batches handed out at a time."""
    waiting: set[futures.Future[list[Result]]] = set()
    for batch in batches:
        waiting.add(submit(batch))
        if len(waiting) >= most:
            done, waiting = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
            for future in done:
                yield future.result()
    for future in futures.as_completed(waiting):
        yield future.result()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes begun within never see Ctrl-C: it is the parent's, who ends them.

    Here it is raised afterwards: in the middle a pool would be left that cannot be shut down.
    """
    seen: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    resource_tracker.ensure_running()  # it would unblock the signal when it begins
    # The handler, since another thread than this may be given the signal; the mask for children.
    handler = signal.signal(signal.SIGINT, lambda *_: seen.append(1)) if in_main else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_main:
            signal.signal(signal.SIGINT, handler)
    if seen:
        raise KeyboardInterrupt


_task: list[Task] = []  # of this worker process


def _start(task: Task) -> None:
    """Makes a process ready for a search."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _task[:] = [task]


def _end_with_parent() -> None:
    """A pool's processes would wait for work for ever if their parent were killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _evaluate(batch: Batch) -> list[Result]:
    return evaluate_all(_task[0], batch)
