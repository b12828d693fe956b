"""What the RTL cannot do of what an image may ask for: each refusal is one line."""

from __future__ import annotations

from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.numerics.tables import GATE_INDEX_BITS, GATE_RANGE
from hardcast.program import step as kinds


def check_points(image: Image) -> None:
    """The RTL's shifts right are by at least one bit. Raises HardcastError."""
    p = image.points
    gates = image.program.gate_tables()
    if len(gates) != 1:
        raise HardcastError(
            f"{image.path}: its gates read {len(gates)} tables, the chip's lanes have one"
        )
    shifts = {
        "gain - norm_extra": p.gain - p.norm_extra,
        "2 rope - score": 2 * p.rope - p.score,
        "gate + range - 6": p.gate + GATE_RANGE[gates[0]] - GATE_INDEX_BITS,
        "12 + gate - silu": 12 + p.gate - p.silu,
        "silu + gate - f": p.silu + p.gate - p.f,
        "14 + qk - rope": 14 + p.qk - p.rope,
        "normed + gain - qk": p.normed + p.gain - p.qk,
        "2 + v - a": 2 + p.v - p.a,
    }
    if any(isinstance(s, kinds.HeadNorm) and s.buffer == "y" for s in image.program.steps):
        shifts["normed + gain - residual"] = p.normed + p.gain - p.residual
    if p.silu > p.gate or shifts["14 + qk - rope"] < 12 or shifts["gain - norm_extra"] > 14:
        raise HardcastError("the chip's registers are too narrow for this image's binary points")
    for what, shift in shifts.items():
        if not 1 <= shift <= 31:
            raise HardcastError(f"the chip's shifters do not reach {what} = {shift} of this image")


def check_norms(image: Image) -> None:
    """What the RTL cannot norm yet. Raises HardcastError."""
    shape = image.program.shape
    norms = [s for s in image.program.steps if isinstance(s, kinds.HeadNorm) and s.buffer != "y"]
    if any(image.program.part(s) != shape.head_dim for s in norms):
        raise HardcastError(
            f"{image.path}: the RTL has no norm over all heads yet, which "
            f"{image.program.architecture} needs; golden and engine run this image"
        )
