"""Perplexity of the chip on a text (--text), or its answers to tasks (--tasks).

With --text the text is cut into windows of --context tokens, each run from an empty context; a
rest shorter than a window is left out. Use text that the build never saw. With --against the float
model that the image came from is measured as well; --steps then tells what the rounding of each
layer's buffers costs by itself (minutes), which finds the one that a model does not bear.

--tasks basics asks a thousand questions of multiple choice that come with Hardcast, offline, in a
minute or two for SmolLM2; parts of it are basics_agreement, basics_arithmetic, basics_code,
basics_copying, basics_facts, basics_order, basics_sense, basics_words. Every other name is a task
of the lm-eval harness (pip install 'hardcast[lm-eval]'), which brings its data from its hub the
first time, unless the task is your own (--include-path). With --against the float model answers
the same questions, and a paired test says what the chip lost, how sure that is, and how small a
loss would have gone unseen.

Example:
  hardcast eval smollm2.image --text held_out.txt --against smollm2-135m
  hardcast eval smollm2.image --tasks basics --against smollm2-135m
  hardcast eval smollm2.image --tasks hellaswag,arc_easy --limit 200
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import numpy as np

from hardcast.commands._parameters import named, pathname, whole
from hardcast.commands.talk._source import cached, float_model, source_of
from hardcast.commands.talk._steps import TOKENS, step_losses, steps_json, steps_table
from hardcast.commands.talk._talk import add_executor, add_image, executor_of, tokenizer_of
from hardcast.commands.talk._tasks import run_tasks
from hardcast.console import Console
from hardcast.errors import HardcastError
from hardcast.evaluate.perplexity import CONTEXT, Perplexity, cut, measure
from hardcast.image import open_image
from hardcast.quantize.float_forward import FloatModel
from hardcast.text import read_text

TEXT_ONLY = ("--context", "--windows", "--steps")
TASKS_ONLY = ("--limit", "--num-fewshot", "--include-path", "--chat")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", metavar="FILE", type=pathname, help="UTF-8 text")
    what.add_argument(
        "--tasks", metavar="NAMES", help="`basics`, or tasks of lm-eval; commas between"
    )
    parser.add_argument(
        "--against",
        type=named,
        metavar="MODEL",
        help="measure the checkpoint that was built too, in float",
    )
    of_text = parser.add_argument_group("with --text")
    of_text.add_argument(
        "--context",
        type=whole(2),
        metavar="N",
        help=f"tokens in a window (default: {CONTEXT}, or all that the chip has)",
    )
    of_text.add_argument(
        "--windows", type=whole(1), metavar="N", help="only the first N windows (default: all)"
    )
    of_text.add_argument(
        "--steps",
        action="store_true",
        default=None,
        help="with --against: what each rounding of activations costs alone, on the first "
        f"{TOKENS} tokens",
    )
    of_tasks = parser.add_argument_group("with --tasks")
    of_tasks.add_argument(
        "--limit", type=whole(1), metavar="N", help="at most N questions a task (default: all)"
    )
    of_tasks.add_argument(
        "--num-fewshot",
        type=whole(0),
        metavar="N",
        help="lm-eval's: solved examples before a question (default: the task's own number)",
    )
    of_tasks.add_argument(
        "--include-path",
        type=pathname,
        metavar="DIR",
        help="lm-eval's: a folder of more tasks (YAML)",
    )
    of_tasks.add_argument(
        "--chat",
        action="store_true",
        default=None,
        help="lm-eval's: ask in the model's chat template",
    )
    add_executor(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    _refuse_mixture(args)
    return run_tasks(args, console) if args.tasks is not None else _run_text(args, console)


def _refuse_mixture(args: argparse.Namespace) -> None:
    """An option of the other kind of evaluation would be passed over in silence."""
    kind, others = ("--tasks", TEXT_ONLY) if args.tasks is not None else ("--text", TASKS_ONLY)
    for option in others:
        if getattr(args, option.removeprefix("--").replace("-", "_")) is not None:
            raise HardcastError(f"{option} has no meaning with {kind} (see hardcast eval --help)")


def _run_text(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    if args.steps and not args.against:
        raise HardcastError("--steps compares with the float model: give --against MODEL too")
    image = open_image(args.image)
    tokenizer = tokenizer_of(image)
    # special=False: a text that mentions <|im_end|> means those letters.
    token_ids = tokenizer.encode(read_text(args.text), special=False, add_bos=False)
    executor = executor_of(image, args.executor, args.threads, args.path)
    bos_id = tokenizer.bos_id if tokenizer.spec.add_bos else None
    losses = None
    with console.progress() as progress:
        checkpoint = source_of(args.against, image, progress) if args.against else None
        reference = float_model(checkpoint, image, FloatModel) if checkpoint else None
        measured = measure(
            executor,
            token_ids,
            reference=reference,
            context=args.context or min(CONTEXT, image.context),
            windows=args.windows,
            bos_id=bos_id,
            progress=lambda done, total: progress("perplexity", done, total),
        )
        if args.steps and checkpoint is not None:
            window = np.array(cut(token_ids, min(TOKENS, image.context), 1, bos_id)[0])
            losses = step_losses(image, checkpoint, window, cached(image), progress)
    console.print(summary(measured))
    if losses is not None:
        console.print("\n" + steps_table(losses, len(window)))
    return {
        **asdict(measured),
        "increase": measured.increase,
        "text": args.text.name,
        "digest": image.digest,
        "executor": args.executor,
        **({} if losses is None else {"steps": steps_json(losses)}),
    }


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
