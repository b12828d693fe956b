"""Several processes behind one socket: forked from one that has loaded everything, kept alive."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess

from hardcast.errors import HardcastError

SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
LEAST_LIFE_SECONDS = 5.0  # one that ends sooner waits so long before it is begun again
log = logging.getLogger("hardcast.serve")


@contextmanager
def shared_metrics() -> Iterator[None]:
    """A folder for the numbers of all processes; to be entered before metrics are imported."""
    folder = tempfile.mkdtemp(prefix="hardcast-metrics-")
    os.environ[SHARED_METRICS] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Workers:
    """count processes that each run `work`, begun again when they die, until a signal comes."""

    def __init__(self, count: int, work: Callable[[], None], drain_seconds: float) -> None:
        if not hasattr(os, "fork"):
            raise HardcastError("--workers needs a system that can fork processes")
        self._count, self._work, self._drain_seconds = count, work, drain_seconds
        self._stopping = threading.Event()
        # Held open by this process alone, and read by the others: its end says that we are gone.
        self._alive, self._held = os.pipe()
        self._processes: list[ForkProcess] = []

    def run(self) -> None:
        """Returns when all have ended after SIGTERM or SIGINT."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._stop) for number in signals}
        try:
            self._processes = [self._begin() for _ in range(self._count)]
            while not self._stopping.wait(0.2):
                for index, process in enumerate(self._processes):
                    if not process.is_alive():
                        self._processes[index] = self._again(process)
            self._end()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _begin(self) -> ForkProcess:
        process = multiprocessing.get_context("fork").Process(target=self._child)
        process.start()
        self._begun = time.monotonic()
        return process

    def _again(self, process: ForkProcess) -> ForkProcess:
        from prometheus_client import multiprocess

        log.error("worker %s ended with %s; begun again", process.pid, process.exitcode)
        multiprocess.mark_process_dead(process.pid)
        process.close()
        if time.monotonic() - self._begun < LEAST_LIFE_SECONDS:
            self._stopping.wait(LEAST_LIFE_SECONDS)
        return self._begin()

    def _child(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.close(self._held)
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        try:
            self._work()
        except HardcastError as error:
            sys.exit(f"hardcast: {error}")

    def _end_with_parent(self) -> None:
        os.read(self._alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping.set()

    def _end(self) -> None:
        for process in self._processes:
            if process.is_alive():
                process.terminate()
        limit = time.monotonic() + self._drain_seconds + 10
        for process in self._processes:
            process.join(max(limit - time.monotonic(), 0))
            if process.is_alive():
                process.kill()
                process.join()
