"""Lowers a program to the native engine's operations: indices for names, barriers where needed."""

from __future__ import annotations

from dataclasses import dataclass

from hardcast.program import step as kinds
from hardcast.program.program import Program, reads_writes

# native/model.h Buffer. The last two are x and h of the tokens whose logits are asked for (_head).
BUFFERS = ("x", "h", "q", "k", "v", "a", "g", "u", "f", "y", "logits", "head_x", "head_h")


@dataclass(frozen=True)
class Operation:
    """One native operation: the step's kind and its integer fields (native/model.h).

    epsilon: of a norm, the name of the image's constant.
    """

    kind: str
    fields: dict[str, int]
    epsilon: str | None = None


def compile_program(
    program: Program, matrices: dict[str, int], gains: dict[str, int], biases: dict[str, int]
) -> list[Operation]:
    """The program as native operations; SAMPLE is the host's to call and is left out.

    matrices, gains, biases: index of each tensor in the native model; RoPE tables and tables of
    gates are there in the program's order.
    A barrier stands before a step that reads what a step since the last barrier wrote, or writes
    what one read or wrote: threads share a step out, so such a step must wait for all of them.
    """
    operations = []
    gates, tables = program.gate_tables(), program.rope_tables()
    first_of_head = _head(program)
    head: dict[str, str] = {}  # buffer -> its name in the head, once the head has written it
    bits: dict[str, int] = {}  # block-quantised buffer -> bits of a code, as last written
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
        if isinstance(step, kinds.GateMul):
            fields["gate"] = gates.index(step.table)
        if isinstance(step, kinds.Rope) and step.table is not None:
            fields["table"] = tables.index(step.table)
        src, dst = getattr(step, "src", ""), getattr(step, "dst", getattr(step, "buffer", ""))
        bits[dst] = getattr(step, "activation_bits", 8)
        fields["bits"] = bits[src] if isinstance(step, kinds.Matvec) else bits[dst]
        if index >= first_of_head:
            src = head.get(src, src)
            dst = head.setdefault(dst, dst if dst == "logits" else f"head_{dst}")
        for name, buffer in (("src", src), ("dst", dst)):
            fields[name] = BUFFERS.index(buffer) if buffer else 0
        fields["barrier"] = int(barrier)
        fields["wanted"] = int(index >= first_of_head)
        epsilon = None
        if isinstance(step, kinds.Norm | kinds.HeadNorm):
            epsilon = program.epsilon(step)
        operations.append(Operation(type(step).__name__, fields, epsilon))
    return operations


def _head(program: Program) -> int:
    """Index of the program's last steps, which run only for tokens whose logits are asked for.

    They are the final NORM or QUANTIZE and what follows, as far back as nothing but x and h passes
    from step to step: nothing that a later token could read.
    """
    first = len(program.steps)
    for index in reversed(range(len(program.steps))):
        match program.steps[index]:
            case kinds.Norm() | kinds.Quantize():
                first = index
            case kinds.Matvec(src="h", dst="x" | "logits") | kinds.Sample():
                pass
            case _:
                break
    return first


def _fields(
    step: kinds.Step, matrices: dict[str, int], gains: dict[str, int], biases: dict[str, int]
) -> dict[str, int]:
    fields = dict.fromkeys(("matrix", "gain", "bias", "gate", "table"), -1)
    fields |= dict.fromkeys(("layer", "heads", "window"), 0)
    match step:
        case kinds.Embed():
            fields["matrix"] = matrices[step.matrix]
        case kinds.Norm():
            fields["gain"] = gains[step.gain]
        case kinds.HeadNorm():
            fields |= {"gain": gains[step.gain], "heads": step.num_heads}
        case kinds.Matvec():
            fields["matrix"] = matrices[step.matrix]
            fields["bias"] = -1 if step.bias is None else biases[step.bias]
        case kinds.Rope():
            fields["heads"] = step.num_heads
        case kinds.KvWrite():
            fields["layer"] = step.layer
        case kinds.Attend():
            fields |= {"layer": step.layer, "window": step.window or 0}
        case kinds.Quantize() | kinds.GateMul() | kinds.Add():
            pass  # buffers only
    return fields
