"""The virtual chip behind an OpenAI-compatible API, and a page to talk to it.

On this machine alone nobody needs a key. Beyond it, --host asks for keys (`hardcast keys`), or for
--no-keys where anybody may use the chip. SIGTERM and Ctrl-C let answers end first.

Example:
  hardcast serve smollm2.image --port 8000
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"messages": [{"role": "user", "content": "Why is the sky blue?"}]}'
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardcast.commands._parameters import named, network, origin, whole
from hardcast.commands.talk._keys import add_keys_file, needs_serve_extra
from hardcast.commands.talk._talk import add_engine, add_image, tokenizer_of
from hardcast.console import Console
from hardcast.cores import usable_cores
from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.image import Image, open_image

if TYPE_CHECKING:
    from hardcast.serve.server import Options

HOST, PORT = "127.0.0.1", 8000
LEAST_POSITIONS = 64  # a page of the engine's
KV_SHARE = 0.25  # of the machine's memory, for keys and values
MAX_RUNNING, QUEUE, DRAIN_SECONDS = 64, 256, 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument("--host", default=HOST, help=f"address to listen at (default: {HOST})")
    parser.add_argument(
        "--port",
        type=whole(0, 65535),
        default=PORT,
        metavar="N",
        help=f"0: any that is free (default: {PORT})",
    )
    parser.add_argument("--name", metavar="NAME", help="the model's id (default: its own name)")
    add_engine(parser)
    parser.add_argument(
        "--workers",
        type=whole(1, 256),
        default=1,
        metavar="N",
        help="processes behind the port, each with its own --threads (default: 1)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="run the processes as replicas on a Ray cluster: auto, local, or its address",
    )
    parser.add_argument(
        "--max-running",
        type=whole(1, 4096),
        default=MAX_RUNNING,
        metavar="N",
        help=f"answers that a process makes at once (default: {MAX_RUNNING})",
    )
    parser.add_argument(
        "--queue",
        type=whole(0, 1 << 20),
        default=QUEUE,
        metavar="N",
        help=f"answers that may wait; more get 429 (default: {QUEUE})",
    )
    parser.add_argument(
        "--kv-positions",
        type=whole(LEAST_POSITIONS),
        metavar="N",
        help="positions that a process holds for all answers together (default: what fits a "
        f"{KV_SHARE:.0%}% share of this machine's memory, divided by --workers)",
    )
    parser.add_argument(
        "--drain",
        type=whole(0, 86400),
        default=DRAIN_SECONDS,
        metavar="SECONDS",
        help=f"for answers to end after SIGTERM (default: {DRAIN_SECONDS})",
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--keys", action="store_true", help="ask for keys on this machine too")
    asked.add_argument(
        "--no-keys", action="store_true", help="ask nobody for a key, wherever they come from"
    )
    add_keys_file(parser)
    parser.add_argument(
        "--allow-origin",
        type=origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin use the server (https://chat.example; * for any page); "
        "may be repeated",
    )
    parser.add_argument(
        "--proxy",
        type=network,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="take the client's address from X-Forwarded-For where this address or network "
        "(10.0.0.0/8) says it; may be repeated",
    )
    parser.add_argument(
        "--access-log",
        type=named,
        metavar="FILE",
        help="a JSON object a request; - writes to stdout",
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    image = open_image(args.image)
    threads = args.threads or max(usable_cores() // args.workers, 1)
    if args.ray is not None:
        return run_on_ray(image, threads, args, console)

    positions = args.kv_positions or fitting_positions(image, args.workers)

    def load() -> Engine:
        return Engine(image, threads, args.path, positions)

    with contextlib.ExitStack() as stack:
        # The weights are packed while the other core imports what a server needs.
        loading = stack.enter_context(ThreadPoolExecutor(1))
        # Processes forked from this one share packed weights, but none has threads to inherit.
        engine = loading.submit(load) if args.workers == 1 or threads == 1 else None
        if args.workers > 1:
            from hardcast.serve.workers import shared_metrics

            stack.enter_context(shared_metrics())
        options = options_of(args, image, console)
        from hardcast.serve import server

        listening = stack.enter_context(server.bind(args.host, args.port))
        url = url_of(args.host, listening.getsockname()[1])
        tokenizer = tokenizer_of(image)
        loaded = None if engine is None else engine.result()

        def serve(ready: Callable[[], None]) -> None:
            server.run(image, tokenizer, loaded or load(), listening, options, ready)

        if args.workers == 1:
            serve(lambda: say_ready(console, options.name, url))
        else:
            from hardcast.serve.workers import Workers

            say_ready(console, options.name, url)
            Workers(args.workers, lambda: serve(lambda: None), args.drain).run()
    return {"url": url, "model": options.name, "digest": image.digest}


def fitting_positions(image: Image, workers: int) -> int:
    """Positions whose keys and values fit a worker's share of memory, a whole page at the least."""
    shape = image.program.shape
    heads = shape.num_hidden_layers * shape.num_key_value_heads
    position_bytes = heads * 2 * (shape.head_dim + 1)  # codes, and an exponent a head
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(int(memory * KV_SHARE / workers) // position_bytes, LEAST_POSITIONS)


def run_on_ray(
    image: Image, threads: int, args: argparse.Namespace, console: Console
) -> dict[str, Any]:
    """The same on a Ray cluster: --workers replicas of --threads each."""
    options = options_of(args, image, console)
    from hardcast.serve import on_ray

    if args.port == 0:
        raise HardcastError("--ray needs a port of its own: give --port N above 0")
    place = image.path.resolve()
    replicas = on_ray.Replicas(place, args.workers, threads, args.path, args.kv_positions)
    url = url_of(args.host, args.port)
    ready = functools.partial(say_ready, console, options.name, url)
    on_ray.run(replicas, options, args.ray, args.host, args.port, ready)
    return {"url": url, "model": options.name, "digest": image.digest}


def options_of(args: argparse.Namespace, image: Image, console: Console) -> Options:
    """What a server is told. Raises HardcastError for what is unsafe or not installed."""
    with needs_serve_extra():
        from hardcast.serve import server
    keys = keys_file(args, server.is_loopback(args.host), console)
    return server.Options(
        name=args.name or name_of(image),
        max_running=args.max_running,
        queue=args.queue,
        keys=keys,
        local_only=keys is None and not args.no_keys,
        access_log=args.access_log,
        drain_seconds=args.drain,
        origins=tuple(args.allow_origin),
        proxies=tuple(args.proxy),
    )


def url_of(host: str, port: int) -> str:
    """What a client on this machine calls the server by."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def say_ready(console: Console, name: str, url: str) -> None:
    """One line for people, on stderr: stdout may be the access log."""
    console.error(f"{name} at {url}/v1 and {url}/ (API: {url}/docs)")


def keys_file(args: argparse.Namespace, loopback: bool, console: Console) -> Path | None:
    """The file of keys, None where none are asked for. Raises HardcastError for what is unsafe."""
    if args.no_keys or (loopback and not args.keys):
        return None
    from hardcast.serve.access.keys import KeyStore

    store = KeyStore(args.keys_file)
    in_use = any(key.revoked is None for key in store.keys())
    store.close()
    if not in_use and not args.keys:
        raise HardcastError(
            f"--host {args.host} is reached from other machines and there is no key yet; make one "
            "with `hardcast keys create NAME`, or say --no-keys to let anybody in"
        )
    if not in_use:
        console.error("no key exists yet; make one with `hardcast keys create NAME`")
    return Path(args.keys_file)


def name_of(image: Image) -> str:
    """The model's name as its image knows it: a packaged name, or that of a file or folder."""
    known = str(image.provenance.get("model") or image.path.resolve().name)
    return Path(known).name.removesuffix(".gguf") or "hardcast"
