"""Decode and prefill of the virtual chip against llama.cpp, same model, same CPU, same minutes.

Builds llama.cpp from the pinned llama-cpp-python source package for this very CPU (cached), and
the chip image of smollm2-135m. Then measures llama.cpp on the file as shipped (Q4_1), llama.cpp on
Q4_0 (its fastest 4-bit kind), and Hardcast, in turn, one process a measurement, load time never
counted. A ratio is ours over the better of llama.cpp's two in the same round; its median is quoted.
docs/benchmarks.md says what each side computes.

    python benchmarks/against_llama_cpp.py [--rounds 5] [--threads 1,2] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from build_llama_cpp import LLAMA_VERSION, TOOLS, build_llama_cpp, cpu_model, requantize

from hardcast import __version__
from hardcast.checkpoint import locate
from hardcast.cli import Parser
from hardcast.commands._parameters import whole
from hardcast.commands.talk.bench import prefill_tokens_s, spread_tokens
from hardcast.console import Console, table
from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.flow import build
from hardcast.image import open_image

MODEL = "smollm2-135m"
KINDS = ["llama.cpp Q4_1", "llama.cpp Q4_0", "Hardcast"]
WARM_UP = 4  # tokens decoded before the clock starts
MEASUREMENT_LIMIT_S = 600.0
BUSY_LOAD = 0.5  # processes that want the CPU before we start: more, and the figures are doubtful


def measure(image: Path, threads: int, prefill: int, decode: int) -> dict[str, Any]:
    """One measurement of Hardcast: the clock runs over forward passes only, as llama-bench's."""
    engine = Engine(open_image(image), threads)
    if prefill:
        prefill_tokens_s(engine, prefill)  # llama-bench, too, warms up with a whole prompt
        return {"tokens_s": prefill_tokens_s(engine, prefill), "path": engine.path}
    tokens = spread_tokens(decode, engine.image.program.shape.vocab_size)
    session = engine.session()
    for token in tokens[:WARM_UP]:
        session.forward([token])
    session.truncate(0)
    begun = time.perf_counter()
    for token in tokens:
        session.forward([token])
    return {"tokens_s": decode / (time.perf_counter() - begun), "path": engine.path}


def in_a_process(command: list[str]) -> Any:
    """The JSON that a program prints. Raises HardcastError with its last line on stderr."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MEASUREMENT_LIMIT_S)
        if done.returncode == 0:
            return json.loads(done.stdout)
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
        raise HardcastError(f"{command[0]}: exit status {done.returncode}: {reason}")
    except subprocess.TimeoutExpired:
        raise HardcastError(f"{command[0]}: no result in {MEASUREMENT_LIMIT_S:.0f} s") from None
    except (OSError, ValueError) as error:
        raise HardcastError(f"{command[0]}: {error}") from None


def tokens_s(kind: str, file: Path, bench: Path, threads: int, phase: tuple[str, int]) -> float:
    """Tokens a second of one kind in a fresh process. phase: ("prefill" | "decode", tokens)."""
    prefill, decode = (phase[1], 0) if phase[0] == "prefill" else (0, phase[1])
    if kind == "Hardcast":
        command = [sys.executable, __file__, "--measure", str(file), "--threads", str(threads)]
        result = in_a_process([*command, "--prefill", str(prefill), "--decode", str(decode)])
        return float(result["tokens_s"])
    command = [str(bench), "-m", str(file), "-t", str(threads), "-r", "1", "-o", "json"]
    return float(in_a_process([*command, "-p", str(prefill), "-n", str(decode)])[0]["avg_ts"])


def compare(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Prepares both sides, measures, prints the table; returns what --json prints."""
    load_start = os.getloadavg()[0]
    phases = [("decode", args.decode), ("prefill", args.prefill)]
    samples: dict[tuple[str, int, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="hardcast-bench-") as name, console.progress() as bars:
        shipped = locate(MODEL, bars)
        tools = args.llama_bin or build_llama_cpp(bars)
        files = [shipped, requantize(tools / "llama-quantize", shipped, bars), Path(name) / "image"]
        digest = build(MODEL, files[2], progress=bars).digest
        path = Engine(open_image(files[2]), 1).path
        done, total = 0, args.rounds * len(args.threads) * len(phases) * len(KINDS)
        for _ in range(args.rounds):
            for threads in args.threads:
                for phase in phases:
                    for kind, file in zip(KINDS, files, strict=True):  # A B C, A B C, ...
                        bars("measuring", done, total)
                        speed = tokens_s(kind, file, tools / "llama-bench", threads, phase)
                        samples.setdefault((phase[0], threads, kind), []).append(speed)
                        done += 1
        bars("measuring", done, total)
    load_end = os.getloadavg()[0]

    ratios: dict[str, float] = {}
    rows = []
    for phase_name, count in phases:
        for threads in args.threads:
            runs = [samples[phase_name, threads, kind] for kind in KINDS]
            each = [ours / max(a, b) for a, b, ours in zip(*runs, strict=True)]
            plural = "s" if threads > 1 else ""
            ratios[f"{phase_name}_ratio_{threads}_thread{plural}"] = statistics.median(each)
            cells = [_spread(run, 0) for run in runs]
            rows.append([f"{phase_name} {count}", str(threads), *cells, _spread(each, 2)])
    source = str(args.llama_bin or f"llama-cpp-python {LLAMA_VERSION}, native build")
    console.print(table(["tokens/s", "threads", *KINDS, "ratio"], rows))
    console.print(
        f"\nmedian (least-most) of {args.rounds} rounds; ratio: Hardcast over the better llama.cpp "
        f"of the same round\ncpu        {cpu_model()}\nhardcast   {__version__}, path {path}, "
        f"image {digest[:16]}\nllama.cpp  {source}\nload       {load_start:.2f} at the start, "
        f"{load_end:.2f} at the end"
    )
    if load_start > BUSY_LOAD or load_end > max(args.threads) + BUSY_LOAD:
        console.error(
            "warning: other programs kept this machine busy; measure again when it is idle"
        )
    return {
        **ratios,
        "samples": [
            {"phase": phase_name, "threads": threads, "kind": kind, "tokens_s": run}
            for (phase_name, threads, kind), run in samples.items()
        ],
        "tokens": dict(phases),
        "cpu": cpu_model(),
        "path": path,
        "digest": digest,
        "load_average": [load_start, load_end],
        "versions": {"hardcast": __version__, "llama.cpp": source},
    }


def _spread(values: list[float], digits: int) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def thread_counts(text: str) -> list[int]:
    """What --threads takes: "1,2"."""
    return [whole(1, len(os.sched_getaffinity(0)))(part) for part in text.split(",")]


def main() -> int:
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    for option, default, what in (
        ("--rounds", 5, "times that everything is measured"),
        ("--decode", 64, "tokens to make, one by one"),
        ("--prefill", 512, "tokens of the prompt"),
    ):
        text = f"{what} (default: {default})"
        parser.add_argument(option, type=whole(0), default=default, metavar="N", help=text)
    parser.add_argument("--threads", type=thread_counts, default="1,2", help="(default: 1,2)")
    parser.add_argument("--llama-bin", type=Path, metavar="DIR", help=f"has {' and '.join(TOOLS)}")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # our own child process
    console = Console(as_json="--json" in sys.argv)
    try:
        args = parser.parse_args()
        if args.measure is not None:
            print(json.dumps(measure(args.measure, args.threads[0], args.prefill, args.decode)))
            return 0
        check(args)
        console.result(compare(args, console))
    except (HardcastError, OSError) as error:
        console.error(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        console.error("interrupted")
        return 130
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuses what cannot give a figure before minutes go by. Raises HardcastError."""
    for option in ("rounds", "decode", "prefill"):
        if getattr(args, option) == 0:
            raise HardcastError(f"--{option} 0 measures nothing: give 1 or more")
    for tool in TOOLS if args.llama_bin is not None else []:
        if not (args.llama_bin / tool).is_file():
            raise HardcastError(f"{args.llama_bin}: has no {tool}; leave --llama-bin out to build")


if __name__ == "__main__":
    sys.exit(main())
