"""Options that several verbs share, each checked when it is parsed: a bad value is one line."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path


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


def named(text: str) -> str:
    """Parser of a name or path: any text but none, which a shell gives for an unset variable."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name or path; found an empty text")
    return text


def pathname(text: str) -> Path:
    """Parser of a path; an empty one would be the current folder."""
    return Path(named(text))


def positive(text: str) -> float:
    """Parser of a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"expected a number above 0; found {text:.40}")
    return value


def origin(text: str) -> str:
    """Parser of a web origin as browsers send it: SCHEME://HOST[:PORT], or * for any."""
    found = re.fullmatch(
        r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", text.lower()
    )
    if text == "*":
        return text
    if found is None:
        raise argparse.ArgumentTypeError(
            f"expected an origin, SCHEME://HOST[:PORT], or *; found {text:.80}"
        )
    usual = {"http": ":80", "https": ":443"}.get(found[1])  # which browsers leave out
    return f"{found[1]}://{found[2]}{'' if found[3] in (None, usual) else found[3]}"


def network(text: str) -> str:
    """Parser of an IP address or network (10.0.0.0/8)."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected an IP address or network; found {text:.80} ({error})"
        ) from None
