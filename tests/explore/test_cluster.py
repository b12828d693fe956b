"""The same results from a Dask cluster, and one line for everything that can be wrong with one."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hardcast.errors import HardcastError
from hardcast.explore import cluster as room
from hardcast.explore.cluster import cluster, evaluate_there
from hardcast.explore.evaluate import evaluate_all
from hardcast.explore.objectives import DEFAULT, answer
from hardcast.explore.search import search
from tests.explore.small import task

distributed = pytest.importorskip(
    "distributed", reason="dask.distributed is not installed: pip install 'hardcast[cluster]'"
)


def silent(line: str) -> None:
    raise AssertionError(line)


# A cluster in a process of its own, so that the test may kill it.
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(
        n_workers=int(sys.argv[1]), threads_per_worker=1, processes=True, dashboard_address=None
    ) as local:
        print(local.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A scheduler's address and its process. Indirect parameter: workers, by default 2."""
    workers = getattr(request, "param", 2)
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    address = process.stdout.readline().strip()
    assert address.startswith("tcp://")
    yield address, process
    process.stdin.close()
    try:
        process.wait(30)
    finally:
        process.kill()


def test_the_front_of_a_cluster_is_the_front(started: tuple[str, object]) -> None:
    small = task()
    points = range(small.space.size)
    found = search(small, points, cluster(started[0], silent))
    here = evaluate_all(small, points)
    assert found == here
    assert answer(found, DEFAULT) == answer(here, DEFAULT)
    assert len(answer(found, DEFAULT).front) > 1


def test_a_scheduler_that_is_lost(
    started: tuple[str, subprocess.Popen[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    address, process = started
    small = task()
    batches = ([point % small.space.size] * 20 for point in range(2000))
    results = cluster(address, silent)(small, batches)
    next(results)
    process.kill()
    with pytest.raises(HardcastError, match=f"{address} was lost"):
        list(results)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("started", [0], indirect=True)
def test_a_cluster_without_workers_is_waited_for(started: tuple[str, object]) -> None:
    said: list[str] = []
    small = task()
    found: list[object] = []
    work = threading.Thread(
        target=lambda: found.extend(search(small, range(9), cluster(started[0], said.append)))
    )
    work.start()
    while not said and work.is_alive():
        time.sleep(0.05)
    assert "has no workers yet" in said[0]
    late = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", started[0], "--no-dashboard"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        work.join(60)
        assert found == evaluate_all(small, range(9))
    finally:
        late.terminate()
        late.wait(30)


def test_a_dead_address_is_one_line_within_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(HardcastError, match=f"{address}: no Dask scheduler answers there"):
            search(task(), range(3), cluster(address, silent))
        assert time.monotonic() - begin < 2 * room.SECONDS
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_something_else_that_answers(words: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(words)

        threading.Thread(target=greet, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(HardcastError, match="no Dask scheduler answers there"):
            search(task(), range(3), cluster(address, silent))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("address", ["", "nonsense", "what://host:1", "tcp://host:port"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(HardcastError, match="no Dask scheduler answers there"):
        search(task(), range(3), cluster(address, silent))


def test_a_worker_of_another_version_is_refused() -> None:
    with pytest.raises(HardcastError, match="expected 0.0.1\\+feed: install the same one there"):
        evaluate_there(b"", "0.0.1+feed", [0])


def test_what_a_worker_refuses_reaches_the_user(
    started: tuple[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "code_version", lambda: "0.0.1+feed")
    with pytest.raises(HardcastError, match="a worker of the cluster has Hardcast"):
        search(task(), range(3), cluster(started[0], silent))


def test_without_the_extra_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HardcastError, match=r"pip install 'hardcast\[cluster\]'"):
        search(task(), range(3), cluster("tcp://127.0.0.1:1", silent))
