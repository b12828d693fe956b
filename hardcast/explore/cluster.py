"""Points evaluated by a Dask cluster, local or of many machines (docs/explore.md).

Needs the extra `cluster`. Workers need this version of Hardcast and nothing else: what they have to
know of models and nodes travels with each batch, a few ten kilobytes.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import warnings
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from functools import lru_cache
from itertools import islice
from typing import Any

from hardcast.errors import HardcastError
from hardcast.explore.evaluate import Result, Task, evaluate_all
from hardcast.explore.journal import code_version
from hardcast.explore.workers import AHEAD, Batch, Results, Workers

SECONDS = 5  # that a scheduler has to answer
LEAST_AHEAD = 64  # batches handed out, however few workers there are: more may come


def cluster(address: str, waits: Callable[[str], None]) -> Workers:
    """The workers of the scheduler at an address such as tcp://host:8786.

    waits: told in a line if the cluster has no workers yet. Raises HardcastError without
    dask.distributed, for a scheduler that does not answer in SECONDS or is lost, and for workers
    with another version of Hardcast or without it.
    """

    def work(task: Task, batches: Iterable[Batch]) -> Results:
        dask = _distributed()
        client = _connect(dask, address)
        try:
            yield from _results(dask, client, task, batches, address, waits)
        except ImportError as error:
            raise HardcastError(
                f"a worker of {address} cannot import Hardcast ({error}): install it there too"
            ) from None
        except (CancelledError, OSError, TimeoutError):
            raise HardcastError(
                f"the scheduler at {address} was lost; with --journal the same command goes on"
            ) from None
        except dask.scheduler.KilledWorker:
            raise HardcastError(
                f"workers of {address} died again and again: see their logs"
            ) from None
        finally:
            client.close(timeout=SECONDS)

    return work


def _distributed() -> Any:
    try:
        import distributed
        import distributed.comm
        import distributed.scheduler
    except ImportError:
        raise HardcastError(
            "--scheduler needs dask.distributed: pip install 'hardcast[cluster]'"
        ) from None
    # They log lost connections with tracebacks; what a user must know is raised here.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return distributed


def _connect(dask: Any, address: str) -> Any:
    try:
        # Before there is a client: one that failed to start takes long to be rid of.
        asyncio.run(asyncio.wait_for(_greet(dask, address), SECONDS + 1))
        with warnings.catch_warnings():
            # Of packages that differ between here and there; Hardcast's own version is checked.
            warnings.simplefilter("ignore")
            return dask.Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, KeyError, MemoryError) as error:
        # The last four: what answers is no scheduler, and its words are taken for lengths.
        raise HardcastError(
            f"--scheduler {address}: no Dask scheduler answers there ({_said(error)}); "
            "`dask scheduler` starts one and prints its address"
        ) from None


async def _greet(dask: Any, address: str) -> None:
    """Asks who is there. Raises one of many errors if it is no scheduler."""
    how = dask.Security().get_connection_args("client")
    comm = await dask.comm.connect(address, timeout=SECONDS, **how)
    try:
        await comm.write({"op": "identity", "reply": True})
        if (await comm.read())["type"] != "Scheduler":
            raise ValueError("something else than a scheduler")
    finally:
        comm.abort()


def _said(error: BaseException) -> str:
    """What an error says at bottom, in the few words that are worth a line."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for last in reversed(chain):
        if isinstance(last, OSError | ValueError) and str(last):
            return f"{last!s:.80}"
    return (
        f"no word of a scheduler in {SECONDS} s"
        if isinstance(error, TimeoutError)
        else ("what answers is none")
    )


def _results(
    dask: Any,
    client: Any,
    task: Task,
    batches: Iterable[Batch],
    address: str,
    waits: Callable[[str], None],
) -> Results:
    workers = len(client.scheduler_info(n_workers=-1)["workers"])
    if not workers:
        waits(f"{address} has no workers yet: waiting for some")
    known = zlib.compress(pickle.dumps(task))
    version = code_version()
    rest = iter(batches)

    def submit(count: int) -> list[Any]:
        return [
            client.submit(evaluate_there, known, version, list(batch), pure=False)
            for batch in islice(rest, count)
        ]

    first = submit(max(workers * AHEAD, LEAST_AHEAD))
    done = dask.as_completed(first, loop=client.loop)
    for future in done:
        yield future.result()
        for another in submit(1):
            done.add(another)


def evaluate_there(known: bytes, version: str, points: Batch) -> list[Result]:
    """What a worker of the cluster does. Raises HardcastError if its version is another."""
    if version != code_version():
        raise HardcastError(
            f"a worker of the cluster has Hardcast {code_version()}, expected {version}: "
            "install the same one there"
        )
    return evaluate_all(_task(known), points)


@lru_cache(maxsize=2)
def _task(known: bytes) -> Task:
    task: Task = pickle.loads(zlib.decompress(known))
    return task
