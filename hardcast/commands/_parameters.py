"""Options that several verbs share, each checked when it is parsed: a bad value is one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Parser of a whole number within low..high (no upper end: None)."""

    def parse(text: str) -> int:
        span = f"{low} to {high}" if high is not None else f"{low} or more"
        try:
            # int() would take 1_000 and is slow on absurdly long input.
            value = int(text) if len(text) <= 20 and "_" not in text else None
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"expected a whole number, {span}; found {text:.40}")
        return value

    return parse


def positive(text: str) -> float:
    """Parser of a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"expected a number above 0; found {text:.40}")
    return value
