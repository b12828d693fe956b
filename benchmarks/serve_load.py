"""Many clients at once on `hardcast serve`, and on llama.cpp's server, in one run.

Asks every question alone first: that is the speed of one stream, and the answer that each later one
must equal. Then so many clients ask for so long, each the next question when it has an answer.
Reports tokens a second in all, the longest silence within any stream, memory, wrong answers and
errors; then does the same to llama.cpp's server with the same model in its fastest 4-bit kind.

    python benchmarks/serve_load.py [--clients 64] [--seconds 180] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build_llama_cpp import LLAMA_VERSION, cpu_model, requantize
from llama_server import SERVER, build_llama_server

from hardcast.checkpoint import locate
from hardcast.cli import Parser
from hardcast.commands._parameters import whole
from hardcast.console import Console, amount, table
from hardcast.errors import HardcastError
from hardcast.flow import build

MODEL = "smollm2-135m"
QUESTIONS = 16
SLOT_POSITIONS = 512  # of each of llama.cpp's slots: a question and its answer
START_LIMIT_S = 120.0
MEMORY_PERIOD_S = 1.0
SUBJECTS = (
    "a river, a lighthouse, a loaf of bread, the moon, a bicycle, winter, a violin, the sea, "
    "a letter, an old tree, a clock, rain, a market, glass, a mountain path, silence"
).split(", ")


def questions() -> list[dict[str, Any]]:
    """The requests, the same in every run: greedy, of 32 to 128 tokens."""
    draw = random.Random(7)
    return [
        {
            "messages": [{"role": "user", "content": f"Write a few sentences about {subject}."}],
            "max_tokens": draw.randrange(32, 129),
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for subject in SUBJECTS[:QUESTIONS]
    ]


@dataclass
class Answer:
    """One stream as its client saw it. tokens: as the server counts; gaps: seconds of silence."""

    text: str = ""
    tokens: int = 0
    first_s: float = 0.0
    longest_gap_s: float = 0.0
    error: str = ""


@dataclass
class Load:
    """What a server did. one_tokens_s: of one stream; many_tokens_s: of all together."""

    name: str
    one_tokens_s: float = 0.0
    many_tokens_s: float = 0.0
    answers: int = 0
    wrong: int = 0
    errors: list[str] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What --json prints of it."""
        third = max(len(self.memory_bytes) // 3, 1)
        return {
            "one_tokens_s": self.one_tokens_s,
            "many_tokens_s": self.many_tokens_s,
            "times_one": self.many_tokens_s / self.one_tokens_s,
            "answers": self.answers,
            "wrong": self.wrong,
            "errors": len(self.errors),
            "first_error": next(iter(self.errors), None),
            "first_token_s_median": statistics.median(self.first_s or [0.0]),
            "first_token_s_longest": max(self.first_s, default=0.0),
            "silence_s_longest": max(self.gaps_s, default=0.0),
            "memory_bytes_first_third": max(self.memory_bytes[:third], default=0),
            "memory_bytes_last_third": max(self.memory_bytes[-third:], default=0),
        }


async def ask(port: int, body: dict[str, Any], counted: list[int] | None = None) -> Answer:
    """One question. counted: gets every token as it comes, so that unfinished answers count too.

    A few lines of HTTP of our own: a client library would take a core from what is measured. Both
    servers send an event in one piece, so a line that begins with data: is whole.
    """
    answer = Answer()
    text = json.dumps(body).encode()
    begun = last = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        )
        status = await reader.readline()
        if b" 200 " not in status:
            answer.error = status.decode("latin-1").strip()
            return answer
        while line := await reader.readline():
            if not line.startswith(b"data: {"):
                if line.startswith(b"data: [DONE]"):
                    return answer
                continue
            event = json.loads(line[6:])
            if "error" in event:
                answer.error = str(event["error"])
                return answer
            if usage := event.get("usage"):
                answer.tokens = usage["completion_tokens"]
            for choice in event["choices"]:
                if piece := choice["delta"].get("content"):
                    now = time.perf_counter()
                    if answer.text:
                        answer.longest_gap_s = max(answer.longest_gap_s, now - last)
                    else:
                        answer.first_s = now - begun
                    last = now
                    answer.text += piece
                    if counted is not None:
                        counted[0] += 1
        answer.error = "the connection ended early"
        return answer
    except OSError as error:
        answer.error = str(error)
        return answer
    finally:
        writer.close()


async def one_by_one(port: int, load: Load) -> list[str]:
    """Every question alone: fills in one_tokens_s and returns the answers."""
    await ask(port, questions()[0])  # warm
    begun, found = time.perf_counter(), []
    for body in questions():
        answer = await ask(port, body)
        if answer.error:
            raise HardcastError(f"{load.name}: {answer.error}")
        found.append(answer)
    load.one_tokens_s = sum(a.tokens for a in found) / (time.perf_counter() - begun)
    return [answer.text for answer in found]


async def all_together(
    port: int, pid: int, load: Load, alone: Sequence[str], clients: int, seconds: float
) -> None:
    """So many clients for so long."""
    counted, ends = [0], time.perf_counter() + seconds
    asked = questions()

    async def client(number: int) -> None:
        turn = number
        while time.perf_counter() < ends:
            index = turn % len(asked)
            answer = await ask(port, asked[index], counted)
            turn += 1
            if answer.error:
                load.errors.append(answer.error)
                await asyncio.sleep(0.1)
                continue
            load.answers += 1
            load.wrong += answer.text != alone[index]
            load.first_s.append(answer.first_s)
            load.gaps_s.append(answer.longest_gap_s)

    async def watch() -> None:
        while True:
            load.memory_bytes.append(memory_bytes(pid))
            await asyncio.sleep(MEMORY_PERIOD_S)

    begun = time.perf_counter()
    watching = asyncio.create_task(watch())
    working = [asyncio.create_task(client(number)) for number in range(clients)]
    await asyncio.sleep(seconds)
    load.many_tokens_s = counted[0] / (time.perf_counter() - begun)
    await asyncio.gather(*working)  # the last answers are checked too, but not timed
    watching.cancel()


def memory_bytes(pid: int) -> int:
    """Resident memory of a process."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[int]:
    """Starts a server, waits until it is healthy, and ends it; gives its process id."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    try:
        limit = time.monotonic() + START_LIMIT_S
        while not healthy(port):
            if process.poll() is not None or time.monotonic() > limit:
                said = (log.read_text("utf-8", "replace").splitlines() or ["nothing"])[-1]
                raise HardcastError(f"{command[0]} does not start: {said[:300]}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def healthy(port: int) -> bool:
    """Whether /health answers 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def measure(name: str, command: list[str], port: int, log: Path, args: argparse.Namespace) -> Load:
    """One server: alone, then all together."""
    load = Load(name)

    async def both(pid: int) -> None:
        alone = await one_by_one(port, load)
        await all_together(port, pid, load, alone, args.clients, args.seconds)

    with running(command, port, log) as pid:
        asyncio.run(both(pid))
    return load


def compare(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Prepares both sides, measures, prints the table; returns what --json prints."""
    threads = str(args.threads)
    with tempfile.TemporaryDirectory(prefix="hardcast-load-") as name, console.progress() as bars:
        folder = Path(name)
        shipped = locate(MODEL, bars)
        build(MODEL, folder / "image", progress=bars)
        port = free_port()
        ours = [sys.executable, "-m", "hardcast", "serve", str(folder / "image"), "--port"]
        ours += [str(port), "--threads", threads, "--max-running", str(args.clients)]
        loads = [measure("Hardcast", ours, port, folder / "ours.log", args)]
        if not args.alone:
            tools = build_llama_server(bars, amx=not args.without_amx)
            model = requantize(tools / "llama-quantize", shipped, bars)
            port, slots = free_port(), str(args.clients)
            theirs = [str(tools / SERVER), "-m", str(model), "--port", str(port), "-t", threads]
            theirs += ["-np", slots, "-c", str(args.clients * SLOT_POSITIONS), "--no-webui"]
            loads.append(measure("llama.cpp Q4_0", theirs, port, folder / "theirs.log", args))
    found = {load.name: load.to_json() for load in loads}
    header = ["", *found]
    rows = [
        [key.replace("_", " "), *(shown(key, values[key]) for values in found.values())]
        for key in next(iter(found.values()))
    ]
    console.print(table(header, rows))
    console.print(
        f"\n{args.clients} clients, {args.seconds} s, {threads} threads; {cpu_model()}; "
        f"llama-cpp-python {LLAMA_VERSION}"
    )
    ratio = loads[0].many_tokens_s / loads[-1].many_tokens_s if len(loads) > 1 else None
    if ratio is not None:
        console.print(f"total throughput over llama.cpp's: {ratio:.2f}")
    return {"ratio": ratio, "clients": args.clients, "seconds": args.seconds, "servers": found}


def shown(key: str, value: Any) -> str:
    """A figure for people."""
    if key.startswith("memory"):
        return amount(value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    cores = len(os.sched_getaffinity(0))
    for option, default, what in (
        ("--clients", 64, "streams at once"),
        ("--seconds", 180, "for which they ask"),
        ("--threads", cores, "of each server"),
    ):
        text = f"{what} (default: {default})"
        parser.add_argument(option, type=whole(1), default=default, metavar="N", help=text)
    parser.add_argument("--alone", action="store_true", help="leave llama.cpp out")
    parser.add_argument(
        "--without-amx", action="store_true", help="llama.cpp without AMX, where that crashes"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    console = Console(as_json="--json" in sys.argv)
    try:
        console.result(compare(parser.parse_args(), console))
    except (HardcastError, OSError) as error:
        console.error(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        console.error("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
