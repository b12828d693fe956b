"""What the verbs that run a chip share: the executor's and the sampler's options, the prompt."""

from __future__ import annotations

import argparse
from typing import Any

from hardcast.commands._parameters import pathname, whole
from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.numerics.sampling import MAX_TOP_K, SamplerSettings
from hardcast.tokenizer import Tokenizer, TokenizerSpec

THREADS_LIMIT = 1024

Message = dict[str, Any]


def add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", type=pathname, help="folder that `build` wrote")


def add_executor(parser: argparse.ArgumentParser) -> None:
    """--executor, and the engine's --threads and --path."""
    parser.add_argument(
        "--executor",
        choices=["engine", "golden"],
        default="engine",
        help="engine: native, fast; golden: NumPy, the definition (the same tokens, far slower)",
    )
    add_engine(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """--threads and --path."""
    parser.add_argument(
        "--threads",
        type=whole(1, THREADS_LIMIT),
        metavar="N",
        help="the engine's threads (default: one a core); the tokens do not depend on it",
    )
    parser.add_argument(
        "--path",
        metavar="NAME",
        help="force one of the engine's native paths (default: the fastest that runs here)",
    )


def add_sampling(
    parser: argparse.ArgumentParser, temperature: float = 0.0, top_p: float = 1.0
) -> None:
    """The on-chip sampler's options, with the verb's defaults."""
    parser.add_argument(
        "--temperature",
        type=float,
        default=temperature,
        metavar="T",
        help=f"0 is greedy (default: {temperature:g})",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help=f"draw among the K likeliest, up to {MAX_TOP_K} (default: 0, off)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=top_p,
        metavar="P",
        help="draw among the likeliest that make up this probability; 1 is off "
        f"(default: {top_p:g})",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="same seed, same text (default: 0)"
    )


def settings_of(args: argparse.Namespace) -> SamplerSettings:
    """The sampler's integers for what was typed. Raises HardcastError for values out of range."""
    return SamplerSettings.from_user(args.temperature, args.top_k, args.top_p, args.seed)


def tokenizer_of(image: Image) -> Tokenizer:
    """The tokenizer that an image carries."""
    return Tokenizer(TokenizerSpec.from_json(image.tokenizer_json()))


def executor_of(image: Image, name: str, threads: int | None, path: str | None) -> Any:
    """Opens `image` in the named executor. Only that one is imported."""
    if name == "golden":
        if threads is not None or path is not None:
            raise HardcastError("--threads and --path are the engine's; golden has neither")
        from hardcast.golden.machine import Golden

        return Golden(image)
    from hardcast.engine import Engine

    return Engine(image, threads=threads, path=path)


def chat_ids(tokenizer: Tokenizer, messages: list[Message]) -> list[int]:
    """Token ids of a conversation up to where the model speaks. The template brings its own BOS."""
    return tokenizer.encode(tokenizer.chat_prompt(messages), add_bos=False)
