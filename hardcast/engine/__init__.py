"""The engine: the fast native virtual chip, bit for bit equal to golden."""

from hardcast.engine.engine import Engine, KvFull, KvUse, Session

__all__ = ["Engine", "KvFull", "KvUse", "Session"]
