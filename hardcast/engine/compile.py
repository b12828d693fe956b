"""Lowers a program to the native engine's operations: indices for names, barriers where needed."""

from __future__ import annotations

from dataclasses import dataclass

from hardcast.program import step as kinds
from hardcast.program.program import Program, reads_writes

BUFFERS = ("x", "h", "q", "k", "v", "a", "g", "u", "f", "y", "logits")  # native/model.h Buffer


@dataclass(frozen=True)
class Operation:
    """One native operation: the step's kind and its integer fields (native/model.h)."""

    kind: str
    fields: dict[str, int]


def compile_program(
    program: Program, matrices: dict[str, int], gains: dict[str, int], biases: dict[str, int]
) -> list[Operation]:
    """The program as native operations; SAMPLE is the host's to call and is left out.

    matrices, gains, biases: index of each tensor in the native model.
    A barrier stands before a step that reads what a step since the last barrier wrote, or writes
    what one read or wrote: threads share a step out, so such a step must wait for all of them.
    """
    operations = []
    read: set[str] = set()
    written: set[str] = set()
    for index, step in enumerate(program.steps):
        if isinstance(step, kinds.Sample):
            continue
        reads, writes = (set(names) for names in reads_writes(step))
        barrier = bool(reads & written or writes & (read | written))
        if barrier:
            read, written = set(), set()
        read |= reads
        written |= writes
        fields = _fields(step, matrices, gains, biases)
        fields["barrier"] = int(barrier)
        fields["wanted"] = int(_feeds_logits(program, index))
        operations.append(Operation(type(step).__name__, fields))
    return operations


def _feeds_logits(program: Program, index: int) -> bool:
    """The head and its NORM run only for tokens whose logits are asked for."""
    step = program.steps[index]
    if isinstance(step, kinds.Norm):
        return _feeds_logits(program, index + 1)
    return isinstance(step, kinds.Matvec) and step.dst == "logits"


def _fields(
    step: kinds.Step, matrices: dict[str, int], gains: dict[str, int], biases: dict[str, int]
) -> dict[str, int]:
    fields = dict.fromkeys(("matrix", "gain", "bias"), -1)
    fields |= dict.fromkeys(("src", "dst", "layer", "heads", "window"), 0)
    fields["bits"] = getattr(step, "activation_bits", 8)
    match step:
        case kinds.Embed():
            fields |= {"matrix": matrices[step.matrix], "dst": BUFFERS.index(step.dst)}
        case kinds.Norm():
            fields |= {"gain": gains[step.gain], "dst": BUFFERS.index(step.dst)}
        case kinds.HeadNorm():
            fields |= {"gain": gains[step.gain], "heads": step.num_heads}
            fields["dst"] = BUFFERS.index(step.buffer)
        case kinds.Matvec():
            fields |= {"matrix": matrices[step.matrix], "src": BUFFERS.index(step.src)}
            fields |= {"dst": BUFFERS.index(step.dst)}
            fields["bias"] = -1 if step.bias is None else biases[step.bias]
        case kinds.Rope():
            fields |= {"dst": BUFFERS.index(step.buffer), "heads": step.num_heads}
        case kinds.KvWrite():
            fields["layer"] = step.layer
        case kinds.Attend():
            fields |= {"layer": step.layer, "window": step.window or 0}
            fields["dst"] = BUFFERS.index(step.dst)
        case kinds.GateMul():
            fields["dst"] = BUFFERS.index(step.dst)
        case kinds.Add():
            fields["dst"] = BUFFERS.index(step.dst)
    return fields
