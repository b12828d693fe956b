"""A program as the chip runs it: which steps join, which wait, how often a matrix is swept.

The same list is assembled into the program ROM (rtl) and summed by the cycle model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hardcast.errors import HardcastError
from hardcast.program import step as kinds
from hardcast.program.program import Program


@dataclass(frozen=True)
class Op:
    """One word of the program ROM.

    name: ANGLE (cosines and sines of the position), EMBED, NORM, QUANT, MATVEC, HSUM and HAPPLY
    (HEAD_NORM's two passes), BSUM and BADD (those of y; the second adds to the residual), ROPE,
    VALUE, ATTEND, GATE, SAMPLE or END.
    step: the program's step, None for ANGLE and END. wait: the next word waits for its results.
    add: MATVEC adds its rows to the residual. planes, wide: of MATVEC, weight planes and whether
    activations have more than 8 bits, which takes two passes. head: a run that wants no logits
    ends before this word. table: of ANGLE, as in the step ROPE.
    """

    name: str
    step: kinds.Step | None = None
    wait: bool = True
    add: bool = False
    planes: int = 1
    wide: bool = False
    head: bool = False
    table: str | None = None


def schedule(program: Program, planes: Mapping[str, int]) -> list[Op]:
    """The words of a program, in order. planes: of each matrix.

    Raises HardcastError for a step that the chip does not have.
    """
    bits = {"h": 8, "a": 8, "f": 8}
    steps = list(program.steps)
    table = next((step.table for step in steps if isinstance(step, kinds.Rope)), None)
    ops = [Op("ANGLE", table=table)]
    last_layer = max(i for i, step in enumerate(steps) if isinstance(step, kinds.Add))
    for index, step in enumerate(steps):
        following = steps[index + 1] if index + 1 < len(steps) else None
        if isinstance(step, kinds.Rope) and step.table != table:
            table = step.table
            ops.append(Op("ANGLE", table=table))
        for op in _ops(step, following, bits, planes):
            if index == last_layer + 1:
                op = replace(op, head=True)
            ops.append(op)
    return [*ops, Op("END")]


def grouped(ops: Sequence[Op]) -> list[tuple[Op, int, bool]]:
    """The words that a chip sees no difference between, once: (the first, how many, after head).

    Layers do the same work, so a few dozen words stand for thousands. after head: left out by a
    run that wants no logits.
    """
    found: dict[tuple[Any, ...], tuple[Op, int, bool]] = {}
    beyond = False
    for op in ops:
        beyond = beyond or op.head
        step = op.step
        fields = tuple(getattr(step, name, None) for name in _SEEN)
        key = (op.name, op.wait, op.add, op.planes, op.wide, op.head, fields, beyond)
        first, count, _ = found.get(key, (op, 0, beyond))
        found[key] = (first, count + 1, beyond)
    return list(found.values())


_SEEN = ("src", "dst", "buffer", "num_heads", "window")  # what a step's cycles may depend on


def _ops(
    step: kinds.Step,
    following: kinds.Step | None,
    bits: dict[str, int],
    planes: Mapping[str, int],
) -> list[Op]:
    """The words of a step; none where the word before does its work."""
    match step:
        case kinds.Embed():
            return [Op("EMBED", step)]
        case kinds.Norm() | kinds.Quantize():
            bits[step.dst] = step.activation_bits
            return [Op("NORM" if isinstance(step, kinds.Norm) else "QUANT", step)]
        case kinds.HeadNorm():
            first, second = ("BSUM", "BADD") if step.buffer == "y" else ("HSUM", "HAPPLY")
            return [Op(first, step), Op(second, step)]
        case kinds.Matvec():
            joined = isinstance(following, kinds.Add)
            behind = isinstance(following, kinds.HeadNorm) and following.buffer == "y"
            if (joined or behind) != (step.dst == "y"):
                raise HardcastError(f"the chip adds {step.matrix}'s result to the residual at once")
            more = isinstance(following, kinds.Matvec) and following.src == step.src
            wide = bits[step.src] > 8
            return [Op("MATVEC", step, not more, joined, planes[step.matrix], wide)]
        case kinds.Add():
            return []
        case kinds.Rope():
            # Angles change only when nothing turns by them any more.
            same = isinstance(following, kinds.Rope) and following.table == step.table
            return [Op("ROPE", step, wait=not (same or isinstance(following, kinds.KvWrite)))]
        case kinds.KvWrite():
            return [Op("VALUE", step)]
        case kinds.Attend():
            bits[step.dst] = step.activation_bits
            return [Op("ATTEND", step)]
        case kinds.GateMul():
            bits[step.dst] = step.activation_bits
            return [Op("GATE", step)]
        case kinds.Sample():
            return [Op("SAMPLE", step)]
    raise HardcastError(f"the chip has no {type(step).__name__}: this architecture is not cast yet")
