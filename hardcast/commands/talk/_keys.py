"""What `serve` and `keys` share: the file of keys, and the extra that both need."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardcast.commands._parameters import pathname
from hardcast.errors import HardcastError

PACKAGES = ("starlette", "uvicorn", "pydantic", "pydantic_core", "prometheus_client")


def default_keys_file() -> Path:
    """Where keys are kept unless it is said."""
    import platformdirs

    return Path(platformdirs.user_data_dir("hardcast")) / "keys.sqlite3"


def add_keys_file(parser: argparse.ArgumentParser) -> None:
    """--keys-file."""
    place = default_keys_file()
    parser.add_argument(
        "--keys-file",
        type=pathname,
        default=place,
        metavar="FILE",
        help=f"keys, requests for access and usage (default: {place})",
    )


@contextmanager
def needs_serve_extra() -> Iterator[None]:
    """Imports inside fail with one line where the extra is not installed."""
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in PACKAGES:
            raise
        raise HardcastError(
            f"serving needs the package {error.name}; install it: pip install 'hardcast[serve]'"
        ) from None
