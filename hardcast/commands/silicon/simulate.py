"""Runs the chip's RTL in Verilator, token by token, held against golden and the cycle model.

Every generated token and the largest logits must equal golden's, every run's cycles the cycle
model's; the first difference ends the run with exit code 1. Several prompts are several users of
one chip, in lockstep. Needs Verilator: make setup EXTRAS=dev,rtl.

Example:
  hardcast simulate smollm2.image --prompt "What is the capital of France?" --max-tokens 32
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from hardcast.commands._parameters import pathname, whole
from hardcast.commands.silicon._chip import add_chip, chip_of
from hardcast.commands.silicon._simulated import Difference, Lockstep, User
from hardcast.commands.talk._talk import add_image, add_sampling, chat_ids, settings_of
from hardcast.console import Bars, Console
from hardcast.errors import HardcastError
from hardcast.files import check_file
from hardcast.image import Image, open_image
from hardcast.rtl import emit
from hardcast.simulate.session import LINT, simulated
from hardcast.simulate.verilate import Options
from hardcast.tokenizer import Tokenizer, TokenizerSpec

MAX_TOKENS = 8
REPORT = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument(
        "--prompt",
        metavar="P",
        action="append",
        required=True,
        help="the text; given several times, each is a user of his own",
    )
    parser.add_argument("--raw", action="store_true", help="no chat template")
    parser.add_argument(
        "--max-tokens",
        type=whole(1),
        default=MAX_TOKENS,
        metavar="N",
        help=f"tokens that each user makes at most (default: {MAX_TOKENS})",
    )
    parser.add_argument(
        "--ignore-eos", action="store_true", help="go on after the model's end token"
    )
    parser.add_argument(
        "--report",
        type=whole(0, 256),
        default=REPORT,
        metavar="K",
        help=f"compare the K largest logits of every token (default: {REPORT})",
    )
    parser.add_argument(
        "--against",
        choices=["golden", "engine"],
        default="golden",
        help="what the tokens must equal: NumPy golden, or the engine, which is faster",
    )
    parser.add_argument("--trace", metavar="FILE", type=pathname, help="write a waveform (FST)")
    parser.add_argument(
        "--trace-run", type=whole(0), default=0, metavar="N", help="of this run only (default: 0)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=pathname,
        help="save the chip's state here as it goes, and go on from it if it is there",
    )
    parser.add_argument(
        "--verilator-threads", type=whole(1, 64), default=1, metavar="N", help="default: 1"
    )
    add_sampling(parser)
    add_chip(parser, users=False)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    for file in (args.trace, args.checkpoint):  # hours later the simulator could not write them
        if file is not None:
            check_file(file)
            if not file.absolute().parent.is_dir():
                raise HardcastError(f"{file}: there is no folder {file.parent}; make it first")
    image = open_image(args.image)
    tokenizer = Tokenizer(TokenizerSpec.from_json(image.tokenizer_json()))
    users = [User(prompt_ids(args, prompt, tokenizer), settings_of(args)) for prompt in args.prompt]
    chip = chip_of(args, image, users=len(users))
    for user in users:
        if len(user.prompt) + args.max_tokens - 1 > chip.context:
            raise HardcastError(
                f"{len(user.prompt)} prompt tokens and {args.max_tokens} more exceed the chip's "
                f"context of {chip.context}; give a larger --context"
            )
    design = emit.design(image, chip)
    options = Options(
        trace=args.trace is not None,
        savable=args.checkpoint is not None,
        threads=args.verilator_threads,
        arguments=LINT,
    )
    begun = time.perf_counter()
    with console.progress() as progress:
        progress("compiling the RTL", 0, None)
        with simulated(design, options, progress) as rtl:
            ready = time.perf_counter()
            progress("compiling the RTL", 1, 1)
            ends = set() if args.ignore_eos else set(tokenizer.eos_ids)
            lockstep = Lockstep(rtl, executor(image, args.against), users, args.report, ends)
            try:
                simulate(args, lockstep, progress)
            except Difference as difference:
                console.error(f"hardcast: {difference}")
                raise SystemExit(1) from None
    seconds = time.perf_counter() - ready
    runs = lockstep.runs
    texts = [tokenizer.decode(user.made) for user in users]
    for text in texts:
        console.print(text)
    kind = f"{chip.tile_rows * chip.slices} tiles, {chip.users} user{'s' * (chip.users > 1)}"
    console.print(
        f"\n{kind}: {sum(len(u.made) for u in users)} tokens and their {args.report} largest "
        f"logits equal {args.against}'s; cycles equal the model's in all {len(runs)} runs"
    )
    console.print(
        f"{runs[-1].cycles:,} cycles the last token; {seconds / len(runs):.2f} s a run here, "
        f"{ready - begun:.1f} s to build"
    )
    return {
        "token_ids": [user.made for user in users] if len(users) > 1 else users[0].made,
        "text": texts if len(users) > 1 else texts[0],
        "equal": True,
        "against": args.against,
        "digest": image.digest,
        "parameters": chip.to_json(),
        "runs": len(runs),
        "cycles_per_token": [r.cycles for r in runs],
        "cycles_predicted": [r.predicted for r in runs],
        "logits_compared": args.report,
        "seconds_per_token": seconds / len(runs),
        "seconds_to_build": ready - begun,
    }


def simulate(args: argparse.Namespace, lockstep: Lockstep, progress: Bars) -> None:
    """Runs until every user has his tokens. Raises Difference at the first that is not equal."""
    total = max(len(user.prompt) for user in lockstep.users) + args.max_tokens - 1
    if args.checkpoint is not None:
        lockstep.resume(args.checkpoint)
    while lockstep.waiting(args.max_tokens):
        number = len(lockstep.runs)
        traced = args.trace is not None and number == args.trace_run
        if traced:
            lockstep.rtl.simulator.trace(args.trace)
        lockstep.step(args.max_tokens)
        if traced:
            lockstep.rtl.simulator.untrace()
        if args.checkpoint is not None and len(lockstep.runs) % 8 == 0:
            lockstep.save(args.checkpoint)
        progress("simulating tokens", len(lockstep.runs), total)


def prompt_ids(args: argparse.Namespace, prompt: str, tokenizer: Tokenizer) -> list[int]:
    """Token ids of a prompt, in the chat template if there is one."""
    if args.raw or not tokenizer.has_chat_template:
        ids = tokenizer.encode(prompt)
    else:
        ids = chat_ids(tokenizer, [{"role": "user", "content": prompt}])
    if not ids:
        raise HardcastError("--prompt: the text is empty")
    return ids


def executor(image: Image, name: str) -> Any:
    """What the RTL is held against."""
    if name == "engine":
        from hardcast.engine import Engine

        return Engine(image)
    from hardcast.golden import Golden

    return Golden(image)
