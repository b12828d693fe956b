"""Golden: the integer specification of the chip, in NumPy. If anything disagrees, it is wrong."""

from hardcast.golden.machine import Golden, Session

__all__ = ["Golden", "Session"]
