"""What the scheduler reports while it works; metrics derive from it what they count."""

from __future__ import annotations

from hardcast.serve.scheduling.request import Finished


class Observer:
    """Hooks that do nothing. Called from the scheduler's thread, so they must be quick."""

    def admitted(self, queue_seconds: float) -> None:
        """An answer got its first slot, so long after it was submitted."""

    def first_token(self, seconds: float) -> None:
        """An answer's first token was made, so long after it was submitted."""

    def inter_token(self, seconds: float) -> None:
        """A further token was made, so long after the one before."""

    def finished(self, finished: Finished) -> None:
        """An answer ended."""

    def step(self, seconds: float, tokens: int) -> None:
        """A step ran so many tokens of prompts and answers."""
