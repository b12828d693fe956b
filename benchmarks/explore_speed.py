"""Seconds that a search of 10,000 designs takes: processes, threads, a local Dask cluster.

Every way must find the same front. Points are drawn from the model's standard space; the time to
start processes or to connect counts, that to start the cluster does not.

    python benchmarks/explore_speed.py [--model llama-3.1-8b] [--points 10000] [--jobs 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hardcast.chip.subject import open_subject, preset_for
from hardcast.cores import usable_cores
from hardcast.economics.quote import priced_assumptions
from hardcast.explore import workers
from hardcast.explore.cluster import cluster
from hardcast.explore.evaluate import Task
from hardcast.explore.objectives import DEFAULT, Answer, answer
from hardcast.explore.search import search
from hardcast.explore.space import standard_space


@contextmanager
def local_cluster(jobs: int) -> Iterator[workers.Workers | None]:
    """Workers of a cluster on this machine; None where dask.distributed is not installed."""
    try:
        from distributed import LocalCluster
    except ImportError:
        yield None
        return
    with LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None) as local:
        yield cluster(local.scheduler_address, print)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llama-3.1-8b")
    parser.add_argument("--node", default="n6")
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=usable_cores())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    subject = open_subject(arguments.model)
    preset = preset_for(subject.program.shape.hidden_size)
    space = standard_space(subject.program.shape, preset, [arguments.node], [subject.recipe])
    position = min(1023, preset.chip.context - 1)
    nodes = {arguments.node: priced_assumptions(arguments.node)}
    task = Task(space, {subject.recipe: subject}, nodes, position, systems=10_000)
    points = space.numbers(arguments.points, 0)
    jobs, seconds = arguments.jobs, {}
    fronts: dict[str, Answer] = {}

    with local_cluster(jobs) as dask:
        ways = {
            "one process": workers.here,
            f"{jobs} processes": workers.processes(jobs),
            f"{jobs} threads": workers.threads(jobs),
            f"local Dask cluster, {jobs} processes": dask,
        }
        for name, way in ways.items():
            if way is None:
                continue
            begin = time.perf_counter()
            results = search(task, points, way)
            seconds[name] = time.perf_counter() - begin
            fronts[name] = answer(results, DEFAULT)
    first = next(iter(fronts.values()))
    if any(found != first for found in fronts.values()):
        raise SystemExit("the fronts differ")
    if arguments.json:
        print(json.dumps({"points": len(points), "front": len(first.front), "seconds": seconds}))
        return
    print(
        f"{arguments.model} on {arguments.node}: {len(points):,} points, front {len(first.front)}"
    )
    for name, took in seconds.items():
        print(f"{name:36} {took:6.1f} s  {took / len(points) * 1e3:5.2f} ms a point")


if __name__ == "__main__":
    main()
