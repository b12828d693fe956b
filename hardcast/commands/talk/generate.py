"""Text from the virtual chip, or from another executor of the image: the same tokens.

The model's chat template is put around the prompt if it has one; --raw gives the prompt as it is.
The chip's sampler is all integers: one seed gives one text, on every machine.

Example:
  hardcast generate smollm2.image --prompt "Why is the sky blue?"
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hardcast.commands._parameters import whole
from hardcast.commands.talk._talk import (
    add_executor,
    add_image,
    add_sampling,
    chat_ids,
    executor_of,
    settings_of,
)
from hardcast.console import Console
from hardcast.errors import HardcastError
from hardcast.generate import Generator, Result
from hardcast.image import open_image
from hardcast.text import decoded
from hardcast.tokenizer import Tokenizer

MAX_TOKENS = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument("--prompt", metavar="P", required=True, help="the text; - reads stdin")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--chat", action="store_true", help="insist on the chat template (default: if there is one)"
    )
    form.add_argument("--raw", action="store_true", help="no chat template")
    parser.add_argument("--system", metavar="S", help="system message of the chat template")
    parser.add_argument(
        "--max-tokens",
        type=whole(1),
        default=MAX_TOKENS,
        metavar="N",
        help=f"tokens to make at most (default: {MAX_TOKENS})",
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end before this text (may be given several times)",
    )
    add_sampling(parser)
    add_executor(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    settings = settings_of(args)
    if "" in args.stop:
        raise HardcastError("--stop: the text is empty")
    # As bytes: a text stream would turn CRLF into a line feed, and take the locale's encoding.
    prompt = decoded(sys.stdin.buffer.read(), "stdin") if args.prompt == "-" else args.prompt
    if not prompt:
        raise HardcastError("--prompt: the text is empty")
    image = open_image(args.image)
    executor = executor_of(image, args.executor, args.threads, args.path)
    generator = Generator(image, executor)
    prompt_ids = prompt_tokens(args, prompt, generator.tokenizer)
    result: Result | None = None
    for piece in generator.run(prompt_ids, settings, args.max_tokens, args.stop):
        if isinstance(piece, Result):
            result = piece
        elif console.is_terminal:
            console.print(piece, end="")
    assert result is not None
    console.print("" if console.is_terminal else result.text)
    return {
        "text": result.text,
        "token_ids": result.token_ids,
        "prompt_tokens": result.prompt_tokens,
        "finish_reason": result.finish_reason,
        "digest": image.digest,
        "executor": args.executor,
        "decode_tokens_s": result.decode_tokens_s,
        "prefill_tokens_s": result.prefill_tokens_s,
    }


def prompt_tokens(args: argparse.Namespace, prompt: str, tokenizer: Tokenizer) -> list[int]:
    """Token ids of the prompt, in the chat template unless there is none or --raw is given."""
    if args.raw or not (args.chat or tokenizer.has_chat_template):
        if args.system is not None:
            raise HardcastError("--system needs a chat template: the prompt is used as it is")
        return tokenizer.encode(prompt)
    messages = [{"role": "user", "content": prompt}]
    if args.system is not None:
        messages.insert(0, {"role": "system", "content": args.system})
    return chat_ids(tokenizer, messages)
