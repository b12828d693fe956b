"""The real models that some tests use, if this user has fetched them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardcast.checkpoint import cached


def fetched(name: str) -> Path:
    """A packaged model's file in the user's cache folder, or skips the test."""
    path = cached(name)
    if path is None:
        pytest.skip(f"{name} is not in the cache folder; bring it with: hardcast fetch {name}")
    return path


def smollm2() -> Path:
    """SmolLM2-135M-Instruct."""
    return fetched("smollm2-135m")
