"""A program: the model's shape and its steps, with verification, JSON and a listing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hardcast.errors import HardcastError
from hardcast.program.step import (
    KINDS,
    Add,
    Attend,
    Embed,
    GateMul,
    HeadNorm,
    KvWrite,
    Matvec,
    Norm,
    Quantize,
    Rope,
    Sample,
    Step,
)


@dataclass(frozen=True)
class Shape:
    """Model sizes, under their Hugging Face config names.

    rms_norm_eps and RoPE do not appear: they are integers and tables of the image by then.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int

    def width(self, buffer: str) -> int:
        """Number of elements of one token in `buffer`."""
        return {
            "x": self.hidden_size,
            "h": self.hidden_size,
            "y": self.hidden_size,
            "q": self.num_attention_heads * self.head_dim,
            "a": self.num_attention_heads * self.head_dim,
            "k": self.num_key_value_heads * self.head_dim,
            "v": self.num_key_value_heads * self.head_dim,
            "g": self.intermediate_size,
            "u": self.intermediate_size,
            "f": self.intermediate_size,
            "logits": self.vocab_size,
        }[buffer]


@dataclass(frozen=True)
class Program:
    """architecture: a label only. steps: the forward pass of one token, in order."""

    architecture: str
    shape: Shape
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """What the image stores; `from_json` is the inverse."""
        steps = [{"step": type(s).__name__, **_stored(s)} for s in self.steps]
        return {"architecture": self.architecture, "shape": asdict(self.shape), "steps": steps}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Program:
        """Raises HardcastError for an unknown step or a field that the step does not have."""
        try:
            steps = []
            for entry in data["steps"]:
                fields = dict(entry)
                steps.append(KINDS[fields.pop("step")](**fields))
            return Program(str(data["architecture"]), Shape(**data["shape"]), tuple(steps))
        except (KeyError, TypeError, AttributeError) as error:
            raise HardcastError(f"program: unknown or malformed step or shape ({error})") from None

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Every matrix that a step reads: name -> (out_features, in_features)."""
        found: dict[str, tuple[int, int]] = {}
        for step in self.steps:
            if isinstance(step, Embed):
                found[step.matrix] = (self.shape.vocab_size, self.shape.hidden_size)
            elif isinstance(step, Matvec):
                found[step.matrix] = (self.shape.width(step.dst), self.shape.width(step.src))
        return found

    def part(self, step: HeadNorm) -> int:
        """Channels that HEAD_NORM norms together: the size of its gain."""
        return self.shape.width(step.buffer) // step.num_heads

    def epsilon(self, step: Norm | HeadNorm) -> str:
        """Name of the image's constant that is added under the step's root."""
        if isinstance(step, Norm):
            return "norm_epsilon"
        of_heads = step.buffer != "y" and self.part(step) == self.shape.head_dim
        return "head_epsilon" if of_heads else f"{step.buffer}_epsilon"

    def gate_tables(self) -> tuple[str, ...]:
        """The nonlinearities' ROMs that steps read, in order of their first use."""
        return tuple(dict.fromkeys(s.table for s in self.steps if isinstance(s, GateMul)))

    def rope_tables(self) -> tuple[str, ...]:
        """The sin/cos ROMs that steps turn by, in order of their first use."""
        names = [step.table for step in self.steps if isinstance(step, Rope)]
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def listing(self) -> str:
        """One line a step, for people."""
        lines = []
        for index, step in enumerate(self.steps):
            stored = _stored(step).items()
            fields = " ".join(f"{k}={v}" for k, v in stored if v is not None or k == "table")
            lines.append(f"{index:4d}  {type(step).__name__:<8s} {fields}")
        return "\n".join(lines)


def _stored(step: Step) -> dict[str, Any]:
    """The fields of a step; one that came later only where it says something new."""
    fields = asdict(step)
    if isinstance(step, Rope) and step.table == Rope.table:
        del fields["table"]
    return fields


def verify(program: Program) -> None:
    """Checks that every buffer is written before it is read and layers are in range.

    Raises HardcastError naming the step.
    """
    shape = program.shape
    if shape.num_attention_heads % shape.num_key_value_heads:
        raise HardcastError(
            f"num_attention_heads {shape.num_attention_heads} is not a multiple of "
            f"num_key_value_heads {shape.num_key_value_heads}"
        )
    if shape.head_dim % 2:
        raise HardcastError(f"head_dim {shape.head_dim} is odd: RoPE rotates pairs")
    written: set[str] = set()
    for index, step in enumerate(program.steps):
        reads, writes = reads_writes(step)
        missing = set(reads) - written
        if missing:
            raise HardcastError(f"program step {index} ({step}) reads {sorted(missing)} unwritten")
        if isinstance(step, Attend | KvWrite) and not 0 <= step.layer < shape.num_hidden_layers:
            raise HardcastError(f"program step {index} ({step}) names a layer out of range")
        written |= set(writes)


def reads_writes(step: Step) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Buffers that a step reads and writes, for verification and for scheduling in the engine."""
    match step:
        case Embed():
            return (), (step.dst,)
        case Norm() | Quantize() | Matvec():
            return (step.src,), (step.dst,)
        case HeadNorm() | Rope():
            return (step.buffer,), (step.buffer,)
        case KvWrite():
            return ("k", "v"), ("kv",)
        case Attend():
            return ("q", "kv"), (step.dst,)
        case GateMul():
            return (step.gate, step.up), (step.dst,)
        case Add():
            return (step.src, step.dst), (step.dst,)
        case Sample():
            return (step.src,), ("token",)
