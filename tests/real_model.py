"""The one real model that some tests use, if this user has fetched it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardcast.checkpoint import cached


def smollm2() -> Path:
    """The packaged SmolLM2 GGUF in the user's cache folder, or skips the test."""
    path = cached("smollm2-135m")
    if path is None:
        pytest.skip("smollm2-135m is not in the cache folder; bring it with: hardcast fetch")
    return path
