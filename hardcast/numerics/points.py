"""Binary points: how many fraction bits each quantity on the chip has."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Points:
    """Fraction bits of each buffer; a real value is integer * 2^-point.

    The defaults are the measured choices of docs/numbers.md. An image stores its own.
    """

    residual: int = 9
    gain: int = 12
    norm_extra: int = -1  # of NORM's blocks, beyond the residual's
    normed: int = 14  # inside HEAD_NORM, between the two multiplications
    qk: int = 10  # q and k before RoPE
    rope: int = 9  # after
    score: int = 8  # attention scores, in log2 units
    v: int = 9
    a: int = 9
    gate: int = 10  # g and u
    silu: int = 10
    f: int = 8
    logits: int = 10

    def of(self, buffer: str) -> int:
        """Fraction bits of a buffer of a program ("x", "q", "logits", ...)."""
        at = {"x": self.residual, "y": self.residual, "q": self.qk, "k": self.qk}
        at |= {"v": self.v, "a": self.a, "g": self.gate, "u": self.gate}
        at |= {"f": self.f, "logits": self.logits}
        return {**at, "h": self.residual + self.norm_extra}[buffer]

    def to_json(self) -> dict[str, int]:
        """What the image stores: name -> fraction bits."""
        return asdict(self)
