"""The virtual chip against llama.cpp at a model's true size, without its weights.

Speed and memory depend on shapes and bits, not on what the weights say. So this makes an image of a
known shape (`hardcast build --synthetic`) and GGUF files of the same shape whose blocks are random
bytes under sane scales, then measures `hardcast bench` and llama-bench in turn, one process a
measurement. docs/benchmarks.md says what each side computes.

    python benchmarks/synthetic_against_llama_cpp.py [llama-3.1-8b] [--recipe 3/6] [--folder DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from build_llama_cpp import LLAMA_VERSION, build_llama_cpp, cpu_model
from random_gguf import KINDS, bits_per_weight, write_random_gguf

from hardcast import __version__
from hardcast.cli import Parser
from hardcast.commands._parameters import whole
from hardcast.console import Bars, Console, amount, table
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.models.shapes import NamedShape, get_shape

SHAPE, RECIPE = "llama-3.2-1b", "3/6"
POLL_S = 0.02  # between two looks at a process's memory
HARDCAST = [sys.executable, "-m", "hardcast"]


def measured(command: list[str]) -> tuple[Any, int]:
    """The JSON that a program prints, and the most memory it held, in bytes.

    Raises HardcastError with the program's last line on stderr.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except OSError as error:
            raise HardcastError(f"{command[0]}: cannot run: {error.strerror}") from None
        peak = 0
        try:
            while process.poll() is None:
                peak = held_bytes(process.pid) or peak  # it only grows, and ends with the process
                time.sleep(POLL_S)
        except BaseException:  # Ctrl-C
            process.kill()
            process.wait()
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    name = " ".join(Path(part).name for part in command[:4])
    if process.returncode != 0:
        reason = (texts[1].strip().splitlines() or ["no message"])[-1][:300]
        raise HardcastError(f"{name}: exit status {process.returncode}: {reason}")
    try:
        return json.loads(texts[0]), peak
    except ValueError:
        raise HardcastError(f"{name}: printed no JSON: {texts[0][:100]!r}") from None


def held_bytes(pid: int) -> int:
    """The most memory that a process has held so far; 0 where the system has no /proc.

    Not rusage: the kernel carries the parent's peak over to a child.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s*(\d+)", status)
    return int(found[1]) * 1024 if found else 0


def recipe_name(recipe: str) -> str:
    """A packaged recipe's name, or that of a .toml file without its folder."""
    return Path(recipe).stem if recipe.endswith(".toml") else recipe


def prepare(args: argparse.Namespace, shape: NamedShape, folder: Path, bars: Bars) -> list[Path]:
    """The files to measure, made unless they are in the folder: llama.cpp's kinds, our image."""
    files = [folder / f"{shape.name}.{kind}.gguf" for kind in args.kinds]
    for kind, file in zip(args.kinds, files, strict=True):
        if not file.exists():
            write_random_gguf(file, shape, kind, bars)
    image = folder / f"{shape.name}.{recipe_name(args.recipe).replace('/', '-')}.image"
    if not image.exists():
        bars(f"building {image.name}", 0, None)
        command = [*HARDCAST, "build", "--synthetic", shape.name, "--recipe", args.recipe]
        _, peak = measured([*command, "-o", str(image), "--json"])
        bars(f"building {image.name} ({amount(peak)})", 1, 1)
    return [*files, image]


def measure(file: Path, bench: Path, args: argparse.Namespace) -> tuple[float, float, int]:
    """Tokens a second of prefill and of decode, and peak memory in bytes, in a fresh process."""
    if file.is_dir():
        command = [*HARDCAST, "bench", str(file), "--runs", "1", "--json"]
        command += ["--prefill", str(args.prefill), "--decode", str(args.decode)]
        found, peak = measured([*command, "--threads", str(args.threads)])
        return found["prefill_tokens_s"], found["decode_tokens_s"], peak
    command = [str(bench), "-m", str(file), "-r", "1", "-o", "json", "-t", str(args.threads)]
    found, peak = measured([*command, "-p", str(args.prefill), "-n", str(args.decode)])
    speeds = {bool(entry["n_gen"]): float(entry["avg_ts"]) for entry in found}
    return speeds[False], speeds[True], peak


def compare(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Prepares both sides, measures, prints the table; returns what --json prints."""
    shape = get_shape(args.shape)
    with contextlib.ExitStack() as stack:
        folder = args.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hardcast-")))
        folder.mkdir(parents=True, exist_ok=True)
        bars = stack.enter_context(console.progress())
        tools = args.llama_bin or build_llama_cpp(bars)
        files = prepare(args, shape, folder, bars)
        image = open_image(files[-1])
        bits = [bits_per_weight(shape, kind) for kind in args.kinds]
        bits.append(image.rom_bits / image.parameters)
        names = [
            *(f"llama.cpp {kind}" for kind in args.kinds),
            f"Hardcast {recipe_name(args.recipe)}",
        ]
        runs: dict[str, list[tuple[float, float, int]]] = {name: [] for name in names}
        total = args.rounds * len(names)
        for done in range(total):  # A B C, A B C, ...
            bars("measuring", done, total)
            index = done % len(names)
            runs[names[index]].append(measure(files[index], tools / "llama-bench", args))
        bars("measuring", total, total)
    results = []
    for name, size in zip(names, bits, strict=True):
        prefill, decode, peak = (
            statistics.median(column) for column in zip(*runs[name], strict=True)
        )
        results.append(
            {
                "kind": name,
                "bits_per_weight": size,
                "prefill_tokens_s": prefill,
                "decode_tokens_s": decode,
                "peak_bytes": int(peak),
                "runs": runs[name],
            }
        )
    header = [
        "",
        "bits a weight",
        f"prefill {args.prefill}",
        f"decode {args.decode}",
        "peak memory",
    ]
    rows = [
        [
            entry["kind"],
            f"{entry['bits_per_weight']:.2f}",
            f"{entry['prefill_tokens_s']:.1f}",
            f"{entry['decode_tokens_s']:.2f}",
            amount(entry["peak_bytes"]),
        ]
        for entry in results
    ]
    source = str(args.llama_bin or f"llama-cpp-python {LLAMA_VERSION}, native build")
    console.print(table(header, rows))
    console.print(
        f"\n{shape.name}, {shape.parameters:,} random weights; tokens/s, medians of {args.rounds} "
        f"rounds in turn, threads: {args.threads}\ncpu        {cpu_model()}\n"
        f"hardcast   {__version__}\nllama.cpp  {source}"
    )
    return {
        "shape": shape.name,
        "threads": args.threads,
        "tokens": {"prefill": args.prefill, "decode": args.decode},
        "results": results,
        "cpu": cpu_model(),
        "versions": {"hardcast": __version__, "llama.cpp": source},
    }


def kinds(text: str) -> list[str]:
    """What --kinds takes: "Q4_0,Q3_K"."""
    found = text.split(",")
    for kind in found:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(
                f"expected some of {','.join(KINDS)}; found {kind:.20}"
            )
    return found


def main() -> int:
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("shape", nargs="?", default=SHAPE, help=f"(default: {SHAPE})")
    parser.add_argument("--recipe", default=RECIPE, metavar="R", help=f"(default: {RECIPE})")
    parser.add_argument(
        "--kinds", type=kinds, default="Q4_0,Q3_K", help="of llama.cpp (default: %(default)s)"
    )
    for option, default, what in (
        ("--rounds", 3, "times that everything is measured"),
        ("--decode", 16, "tokens to make, one by one"),
        ("--prefill", 64, "tokens of the prompt"),
        ("--threads", cores, "of each side"),
    ):
        text = f"{what} (default: {default})"
        most = cores if option == "--threads" else None
        parser.add_argument(option, type=whole(1, most), default=default, metavar="N", help=text)
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="keep the files there, and use what is there"
    )
    parser.add_argument("--llama-bin", type=Path, metavar="DIR", help="has llama-bench")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    console = Console(as_json="--json" in sys.argv)
    try:
        args = parser.parse_args()
        console.result(compare(args, console))
    except (HardcastError, OSError) as error:
        console.error(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        console.error("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
