"""Replicas on a Ray cluster, behind Ray Serve's own proxies: for more than one machine.

A replica is what one process of `hardcast serve` is; Ray places it, watches it and divides requests
among all. The image's folder must be there, under the same path, on every machine.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.serve.server import Options, make
from hardcast.tokenizer import Tokenizer, TokenizerSpec

NAME = "hardcast"


@dataclass(frozen=True)
class Replicas:
    """count: replicas. threads, path, kv_positions: of the engine of each."""

    image: Path
    count: int
    threads: int
    path: str | None = None
    kv_positions: int | None = None


def application(replicas: Replicas, options: Options) -> Any:
    """The Ray Serve application, for `ray.serve.run`. Raises HardcastError without Ray."""
    try:
        from ray import serve
    except ImportError:
        raise HardcastError("--ray needs Ray: pip install 'hardcast[ray]'") from None

    def build() -> Any:
        """Runs in the replica."""
        image = open_image(replicas.image)
        tokenizer = Tokenizer(TokenizerSpec.from_json(image.tokenizer_json()))
        engine = Engine(image, replicas.threads, replicas.path, replicas.kv_positions)
        gate, service = make(image, tokenizer, engine, options)
        service.scheduler.start()
        service.warm()
        return gate

    deployment: Any = serve.deployment(
        serve.ingress(build)(),
        name=NAME,
        num_replicas=replicas.count,
        # The queue is the scheduler's, which says 429 and for how long.
        max_ongoing_requests=options.max_running + options.queue + 16,
        graceful_shutdown_timeout_s=options.drain_seconds,
        ray_actor_options={"num_cpus": replicas.threads},
    )
    return deployment.bind()


def run(
    replicas: Replicas,
    options: Options,
    address: str,
    host: str,
    port: int,
    ready: Callable[[], None],
) -> None:
    """Serves until SIGTERM or SIGINT. address: of a cluster, or "local" for one on this machine.

    ready: called once all replicas answer. Raises HardcastError where there is no such cluster.
    """
    app = application(replicas, options)
    import ray
    from ray import serve

    ended = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HardcastError(f"--ray {address}: no such cluster: {reason}") from None
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in signals}
    try:
        serve.start(http_options={"host": host, "port": port})
        serve.run(app, name=NAME, route_prefix="/")
        ready()
        while not ended.wait(0.5):
            pass
        serve.delete(NAME)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ray.shutdown()
