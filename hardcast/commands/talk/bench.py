"""Speed of the virtual chip on this machine: decode and prefill, medians of several runs.

Prefill runs a prompt of --prefill tokens at once. Decode makes --decode tokens one by one after a
prompt of 16, the sampler (greedy) included. The runs alternate, after one that is not counted.

Example:
  hardcast bench smollm2.image --threads 2
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from hardcast.commands._parameters import whole
from hardcast.commands.talk._talk import add_engine, add_image, executor_of
from hardcast.console import Console
from hardcast.errors import HardcastError
from hardcast.image import open_image
from hardcast.numerics.sampling import SamplerSettings

START = 16  # tokens of context that decoding begins after
PREFILL, DECODE = 512, 64  # tokens, where the chip has room for them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    for name, default, what in (
        ("--prefill", PREFILL, "tokens of the prompt"),
        ("--decode", DECODE, "tokens to make"),
    ):
        help_text = f"{what} (default: {default}, or all that the chip has)"
        parser.add_argument(name, type=whole(1), metavar="N", help=help_text)
    parser.add_argument(
        "--runs", type=whole(1), default=5, metavar="N", help="to take the median of (default: 5)"
    )
    add_engine(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    image = open_image(args.image)
    prefill_tokens = args.prefill or min(PREFILL, image.context)
    decode_tokens = args.decode or max(min(DECODE, image.context - START), 1)
    longest = max(prefill_tokens, START + decode_tokens)
    if longest > image.context:
        raise HardcastError(
            f"{longest} tokens exceed the image's context of {image.context}; "
            f"lower --prefill or --decode"
        )
    engine = executor_of(image, "engine", args.threads, args.path)
    decode, prefill = [], []
    with console.progress() as progress:
        for done in range(args.runs + 1):
            progress("runs", done, args.runs + 1)
            prefill.append(prefill_tokens_s(engine, prefill_tokens))
            decode.append(decode_tokens_s(engine, decode_tokens))
        progress("runs", args.runs + 1, args.runs + 1)
    figures = {
        "decode_tokens_s": statistics.median(decode[1:]),
        "prefill_tokens_s": statistics.median(prefill[1:]),
        "threads": engine.threads,
        "path": engine.path,
    }
    console.print(
        f"decode   {figures['decode_tokens_s']:8.1f} tokens/s\n"
        f"prefill  {figures['prefill_tokens_s']:8.1f} tokens/s ({prefill_tokens} at once)\n"
        f"path {engine.path}, threads {engine.threads}, medians of {args.runs}"
    )
    return {**figures, "runs": args.runs, "digest": image.digest}


def spread_tokens(count: int, vocab_size: int) -> list[int]:
    """Token ids all over the vocabulary, the same every time."""
    return [7919 * i % vocab_size for i in range(count)]


def prefill_tokens_s(engine: Any, count: int) -> float:
    """Tokens a second of one prompt, from an empty context to its last token's logits."""
    tokens = spread_tokens(count, engine.image.program.shape.vocab_size)
    session = engine.session()
    begun = time.perf_counter()
    session.forward(tokens)
    return count / (time.perf_counter() - begun)


def decode_tokens_s(engine: Any, count: int) -> float:
    """Tokens a second, one at a time, greedy."""
    session, settings = engine.session(), SamplerSettings()
    logits = session.forward(spread_tokens(START, engine.image.program.shape.vocab_size))
    begun = time.perf_counter()
    for _ in range(count):
        token = engine.sample(logits[-1], settings, session.length)
        logits = session.forward([token])
    return count / (time.perf_counter() - begun)
