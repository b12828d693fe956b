"""From an image to an open port: what is loaded, one process or several, and how they end.

Several processes (workers.py) share one listening socket, and, where each has one thread, the
packed weights too: these are loaded once, before the processes are forked, and only read.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.serve.access.accounts import Accounts
from hardcast.serve.access.keys import KeyStore
from hardcast.serve.app import make_app
from hardcast.serve.http.access_log import AccessLog
from hardcast.serve.http.gate import Gate
from hardcast.serve.http.metrics import Metrics
from hardcast.serve.openai.service import Service
from hardcast.serve.page.silicon import Silicon
from hardcast.serve.scheduling.scheduler import Scheduler
from hardcast.tokenizer import Tokenizer

log = logging.getLogger("hardcast.serve")
KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 5  # beyond the drain, for the last bytes to leave
BACKLOG = 1024
WARM_AFTER_SECONDS = 1.0  # what the silicon would take is reckoned when the first answer is out


@dataclass(frozen=True)
class Options:
    """name: the model's id. keys: their file; None: none are asked for.

    local_only: answer only to localhost and addresses. access_log: a file, - for stdout, or None.
    drain_seconds: for answers at the end. origins: whose pages may use it, "*" for all. proxies:
    addresses and networks whose word on the client's address is taken.
    """

    name: str
    max_running: int = 64
    queue: int = 256
    keys: Path | None = None
    local_only: bool = True
    access_log: str | None = None
    drain_seconds: float = 30.0
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises HardcastError for a host unknown here or a port in use."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HardcastError(f"cannot listen at {host} port {port}: {reason}") from None
    return listening


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a host's address. Unknown names are not loopback."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)


def make(
    image: Image, tokenizer: Tokenizer, engine: Engine, options: Options
) -> tuple[Gate, Service]:
    """The application, behind its gate, and what it serves; its scheduler is still to be started.

    Raises HardcastError for files that cannot be used.
    """
    accounts = Accounts(KeyStore(options.keys)) if options.keys is not None else None
    access_log = AccessLog(options.access_log) if options.access_log is not None else None
    metrics = Metrics()
    scheduler = Scheduler(
        image,
        engine,
        tokenizer,
        max_running=options.max_running,
        queue_limit=options.queue,
        observe=metrics,
    )
    service = Service(
        image, tokenizer, scheduler, metrics, Silicon(image), accounts, name=options.name
    )
    gate = Gate(
        make_app(service),
        metrics,
        accounts,
        options.local_only,
        access_log,
        options.origins,
        options.proxies,
    )
    return gate, service


def run(
    image: Image,
    tokenizer: Tokenizer,
    engine: Engine,
    listening: socket.socket,
    options: Options,
    ready: Callable[[], None],
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what runs. One process.

    ready: called once requests are answered. Raises HardcastError for files that cannot be used.
    """
    gate, service = make(image, tokenizer, engine, options)
    config = uvicorn.Config(
        gate,
        http="h11",  # bounds the size of headers
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # it would take anybody's word who is on this machine
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(options.drain_seconds + GRACE_SECONDS),
    )
    try:
        asyncio.run(Server(config, service, options.drain_seconds, ready).serve([listening]))
    finally:
        service.close()


class Server(uvicorn.Server):
    """uvicorn's server around a scheduler: started before it, drained with it."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        drain_seconds: float,
        ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._service, self._drain_seconds, self._ready = service, drain_seconds, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the scheduler, then listens."""
        self._service.scheduler.start()
        await super().startup(sockets)
        self._ticks = asyncio.ensure_future(self._tick())
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes nothing new and lets answers end; a second Ctrl-C ends them at once."""
        stop = self._service.scheduler.stop
        draining = asyncio.ensure_future(asyncio.to_thread(stop, self._drain_seconds))
        await super().shutdown(sockets)
        if self.force_exit:
            await asyncio.to_thread(stop, 0)
        await draining
        self._ticks.cancel()

    async def _tick(self) -> None:
        """Other processes' metrics speak for this one, so it says once a second how it is."""
        await asyncio.sleep(WARM_AFTER_SECONDS)
        self._service.warm()
        while True:
            self._service.metrics.show(self._service.scheduler.stats())
            await asyncio.sleep(1)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was answered by draining is not raised again."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
