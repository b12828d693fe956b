"""What a refusal looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hardcast.errors import HardcastError


def refused(action: Callable[[], Any], *parts: str) -> None:
    """The action fails with one line that holds all the parts."""
    with pytest.raises(HardcastError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    for part in parts:
        assert part in message
