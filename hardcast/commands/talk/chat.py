"""A conversation with the chip in the terminal.

Only the new words of a turn run through the chip: its KV cache keeps the rest. Ctrl-C stops an
answer; Ctrl-D or /quit ends.

Example:
  hardcast chat smollm2.image --system "You answer in one sentence."
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hardcast.commands._parameters import whole
from hardcast.commands.talk._talk import (
    Message,
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

MAX_TOKENS = 512
TEMPERATURE, TOP_P = 0.7, 0.9  # small models repeat themselves when greedy
HELP = "/help this list   /reset forget the conversation   /quit (or Ctrl-D) end"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument("--system", metavar="S", help="system message")
    parser.add_argument(
        "--max-tokens",
        type=whole(1),
        default=MAX_TOKENS,
        metavar="N",
        help=f"tokens of one answer at most (default: {MAX_TOKENS})",
    )
    add_sampling(parser, TEMPERATURE, TOP_P)
    add_executor(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    settings = settings_of(args)
    image = open_image(args.image)
    generator = Generator(image, executor_of(image, args.executor, args.threads, args.path))
    tokenizer = generator.tokenizer
    if not tokenizer.has_chat_template:
        raise HardcastError(f"{image.path}: its model has no chat template; use `generate --raw`")
    start: list[Message] = []
    if args.system is not None:
        start.append({"role": "system", "content": args.system})
    messages = list(start)
    console.print(f"{image.provenance.get('model', image.path)}, context {image.context}. {HELP}")
    while (line := read_line(console)) is not None:
        match line.strip():
            case "":
                continue
            case "/quit" | "/exit":
                break
            case "/help":
                console.print(HELP)
                continue
            case "/reset":
                messages = list(start)
                console.print("(forgotten)")
                continue
            case command if command.startswith("/") and " " not in command:
                console.print(f"no command {command}; {HELP}")
                continue
        asked: Message = {"role": "user", "content": line}
        try:
            prompt_ids = chat_ids(tokenizer, [*messages, asked])
            answer = speak(console, generator.run(prompt_ids, settings, args.max_tokens, []))
        except HardcastError as error:  # the conversation has outgrown the context, for one
            console.error(f"{error}; /reset forgets the conversation")
            continue
        messages += [asked, {"role": "assistant", "content": answer}]
    return {"messages": messages}


def read_line(console: Console) -> str | None:
    """One line from the person, None at the end. Shows a prompt where a person types."""
    try:
        if sys.stdin.isatty() and console.is_terminal:
            return input("> ")
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None
    except EOFError:
        console.print()
        return None


def speak(console: Console, pieces: Any) -> str:
    """Prints an answer as it comes and returns its text. Ctrl-C ends the answer, not the chat."""
    said: list[str] = []
    try:
        for piece in pieces:
            if not isinstance(piece, Result):
                said.append(piece)
                console.print(piece, end="")
    except KeyboardInterrupt:
        console.print(" (stopped)", end="")
    console.print()
    return "".join(said)
