"""Perplexity of the chip on a text; with --against, of the float model it came from as well.

The text is cut into windows of --context tokens, each run from an empty context; a rest shorter
than a window is left out. Use text that the build never saw.

Example:
  hardcast eval smollm2.image --text held_out.txt --against smollm2-135m
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hardcast import models
from hardcast.checkpoint import Progress, open_checkpoint
from hardcast.commands._parameters import whole
from hardcast.commands._talk import add_executor, add_image, executor_of, tokenizer_of
from hardcast.console import Console
from hardcast.errors import HardcastError
from hardcast.evaluate.perplexity import CONTEXT, Perplexity, measure
from hardcast.image import Image, open_image
from hardcast.quantize.float_forward import FloatModel

CACHED_WEIGHTS = 1 << 29  # a float model up to this many weights (2 GiB) stays in memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument("--text", metavar="FILE", type=Path, required=True, help="UTF-8 text")
    parser.add_argument(
        "--context",
        type=whole(2),
        default=CONTEXT,
        metavar="N",
        help=f"tokens in a window (default: {CONTEXT})",
    )
    parser.add_argument(
        "--windows", type=whole(1), metavar="N", help="only the first N windows (default: all)"
    )
    parser.add_argument("--against", metavar="MODEL", help="the checkpoint that was built")
    add_executor(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    image = open_image(args.image)
    tokenizer = tokenizer_of(image)
    # special=False: a text that mentions <|im_end|> means those letters.
    token_ids = tokenizer.encode(read_text(args.text), special=False, add_bos=False)
    executor = executor_of(image, args.executor, args.threads, args.path)
    with console.progress() as progress:
        reference = float_model(args.against, image, progress) if args.against else None
        measured = measure(
            executor,
            token_ids,
            reference=reference,
            context=args.context,
            windows=args.windows,
            bos_id=tokenizer.bos_id if tokenizer.spec.add_bos else None,
            progress=lambda done, total: progress("perplexity", done, total),
        )
    console.print(summary(measured))
    return {
        **asdict(measured),
        "increase": measured.increase,
        "digest": image.digest,
        "executor": args.executor,
    }


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises HardcastError if it is none; OSError is the command line's to tell."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise HardcastError(
            f"{path}: not UTF-8 (byte {error.start}); convert it, for example with iconv"
        ) from None


def float_model(model: str, image: Image, progress: Progress) -> FloatModel:
    """The float model that `image` came from. Raises HardcastError if the sizes say otherwise."""
    checkpoint = open_checkpoint(model, progress)
    program = models.build_program(checkpoint.config)
    if program.shape != image.program.shape or program.architecture != image.program.architecture:
        raise HardcastError(f"{model}: not the model of {image.path}: their sizes differ")
    return FloatModel(
        program,
        checkpoint.config,
        lambda name: checkpoint.tensor(models.checkpoint_name(name)),
        cache=image.parameters <= CACHED_WEIGHTS,
    )


def summary(measured: Perplexity) -> str:
    """The figures for people."""
    lines = [f"perplexity  {measured.perplexity:.4f}  ({measured.tokens} predictions)"]
    if measured.perplexity_float is not None:
        assert measured.increase is not None and measured.kl_mean is not None
        assert measured.top1_agreement is not None
        lines += [
            f"float       {measured.perplexity_float:.4f}  (chip {measured.increase:+.2%})",
            f"KL to float {measured.kl_mean:.5f} nats a token; "
            f"same first choice {measured.top1_agreement:.1%}",
        ]
    return "\n".join(lines)
