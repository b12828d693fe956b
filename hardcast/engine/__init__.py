"""The engine: the fast native virtual chip, bit for bit equal to golden."""

from hardcast.engine.engine import Engine, Session

__all__ = ["Engine", "Session"]
