"""The weights that a chip is built from: the checkpoint's own, or the same model rotated.

A rotated model computes the same function in another basis. The residual stream is x Q: whatever
reads it has Q folded into its columns (and the norm's gain before it, so that the norm itself is
plain), whatever writes it has Q folded into its rows. Each value head has a rotation of its own,
undone in o_proj. A head tied to the embedding stays tied: the normed residual is turned by
Q^T diag(gain) Q, one small matrix, and meets the rotated embedding itself.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hardcast.checkpoint.base import Checkpoint, Grid, GridForm
from hardcast.models import units
from hardcast.models.common import checkpoint_name
from hardcast.program.program import Program, verify
from hardcast.program.step import Embed, HeadNorm, Matvec, Norm, Quantize, Sample
from hardcast.quantize.rotation import Rotation

SEED = 20261125
HEAD_ROTATION = "head_rotation"


class Source(Protocol):
    """Tensors of a model by image name, and the program that uses them."""

    program: Program

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        """float32; of a matrix, only some rows if asked."""
        ...

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """The stored integer grid of a matrix, if it still is what the chip multiplies by."""
        ...

    def grid_form(self, name: str) -> GridForm | None:
        """What grid() will give, known without reading the matrix."""
        ...


class Plain:
    """A checkpoint's tensors as they are, in the chip's units (models/units.py)."""

    def __init__(self, checkpoint: Checkpoint, program: Program) -> None:
        self.checkpoint, self.program = checkpoint, program
        self._factors = units.factors(checkpoint.config, program)

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        tensor = self.checkpoint.tensor(checkpoint_name(name), rows)
        if name not in self._factors:
            return tensor
        return tensor * np.float32(self._factors[name])

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        grid = self.checkpoint.grid(checkpoint_name(name), rows)
        if grid is None or name not in self._factors:
            return grid
        factor = np.float32(self._factors[name])  # a matrix's is a power of two: still exact
        minimum = None if grid.minimum is None else grid.minimum * factor
        return replace(grid, scale=grid.scale * factor, minimum=minimum)

    def grid_form(self, name: str) -> GridForm | None:
        return self.checkpoint.grid_form(checkpoint_name(name))


def can_rotate(program: Program) -> bool:
    """Whether the residual may be turned: not where a gain stands between a matrix and it."""
    return not any(isinstance(step, HeadNorm) and step.buffer == "y" for step in program.steps)


@dataclass(frozen=True)
class _Turn:
    """How a matrix changes. gain: the norm folded in. The rest: which axis meets which basis."""

    gain: str | None = None
    reads_residual: bool = False
    writes_residual: bool = False
    value_layer: int = -1  # its rows are value heads
    mixed_layer: int = -1  # its columns are heads of mixed values


class Rotated:
    """A checkpoint's tensors in the rotated basis, and the program changed to match.

    Tensors are made when asked for; only the one last asked for is kept. Raises HardcastError
    for sizes that cannot be rotated.
    """

    def __init__(self, checkpoint: Checkpoint, program: Program, seed: int = SEED) -> None:
        self._plain = Plain(checkpoint, program)
        self._shape = program.shape
        self._residual = Rotation(program.shape.hidden_size, seed)
        self._seed = seed
        self.program = _with_head_rotation(program)
        verify(self.program)
        self._norms = {step.gain for step in program.steps if isinstance(step, Norm)}
        self._turns = _turns(program)
        self._lock = threading.Lock()
        self._whole: tuple[str, np.ndarray] | None = None

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        return None

    def grid_form(self, name: str) -> GridForm | None:
        return None

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        if name in self._norms:
            return np.ones(self._shape.hidden_size, np.float32)
        if name == HEAD_ROTATION:
            return self._head_rotation()[rows or slice(None)]
        if name not in self._turns:
            return self._other(name)
        turn = self._turns[name]
        if turn.writes_residual or turn.value_layer >= 0:  # rows mix: all are needed at once
            with self._lock:  # threads that want other rows of it wait for the one that turns
                if self._whole is None or self._whole[0] != name:
                    self._whole = (name, self._turned(turn, self._plain.tensor(name)))
                return self._whole[1][rows or slice(None)]
        return self._turned(turn, self._plain.tensor(name, rows))

    def _turned(self, turn: _Turn, weights: np.ndarray) -> np.ndarray:
        if turn.gain is not None:
            weights = weights * self._plain.tensor(turn.gain)
        if turn.reads_residual:
            weights = self._residual.apply(weights)
        if turn.mixed_layer >= 0:
            heads = weights.reshape(len(weights), -1, self._shape.head_dim)
            weights = self._values(turn.mixed_layer).apply(heads).reshape(weights.shape)
        if turn.value_layer >= 0:
            weights = self._rotate_values(turn.value_layer, weights)
        if turn.writes_residual:
            weights = self._residual.apply_to_rows(weights)
        return np.ascontiguousarray(weights, np.float32)

    def _rotate_values(self, layer: int, rows: np.ndarray) -> np.ndarray:
        """Rows [kv_heads * head_dim, n] with each head's rows rotated: v R for v = x W^T."""
        heads = rows.reshape(-1, self._shape.head_dim, rows.shape[-1]).transpose(0, 2, 1)
        turned = self._values(layer).apply(np.ascontiguousarray(heads))
        return np.ascontiguousarray(turned.transpose(0, 2, 1)).reshape(rows.shape)

    def _values(self, layer: int) -> Rotation:
        return Rotation(self._shape.head_dim, self._seed + 1 + layer)

    def _head_rotation(self) -> np.ndarray:
        """Q^T diag(gain) Q, symmetric: float32[hidden_size, hidden_size]."""
        gain = self._plain.tensor(
            next(s.gain for s in self.program.steps[::-1] if isinstance(s, Norm))
        )
        return self._residual.apply(self._residual.apply_to_rows(np.diag(gain)))

    def _other(self, name: str) -> np.ndarray:
        """A head norm's gain or a bias: as stored, but for a bias whose rows turn: it turns too."""
        tensor = self._plain.tensor(name)
        turn = self._turns.get(name.removesuffix(".bias"), _Turn())
        if turn.writes_residual:
            return self._residual.apply(tensor[None])[0]
        if turn.value_layer >= 0:
            return self._rotate_values(turn.value_layer, tensor[:, None])[:, 0]
        return tensor


def _turns(program: Program) -> dict[str, _Turn]:
    """By matrix, from what its step reads and writes: no architecture's names are needed."""
    found: dict[str, _Turn] = {}
    gain, layer = "", 0
    tied = any(isinstance(s, Embed) and s.matrix == _head(program).matrix for s in program.steps)
    for step in program.steps:
        match step:
            case Embed():
                found[step.matrix] = _Turn(reads_residual=True)
            case Norm():
                gain = step.gain
            case Matvec(src="h", dst="logits") if tied:
                pass
            case Matvec(src="h"):
                value = layer if step.dst == "v" else -1
                found[step.matrix] = _Turn(gain, reads_residual=True, value_layer=value)
            case Matvec(src="a"):
                found[step.matrix] = _Turn(writes_residual=True, mixed_layer=layer)
                layer += 1
            case Matvec():
                found[step.matrix] = _Turn(writes_residual=True)
    return found


def _head(program: Program) -> Matvec:
    return next(s for s in program.steps if isinstance(s, Matvec) and s.dst == "logits")


def _with_head_rotation(program: Program) -> Program:
    """A tied head's program: Norm, Matvec(head_rotation), Quantize, Matvec(head)."""
    head = _head(program)
    if not any(isinstance(s, Embed) and s.matrix == head.matrix for s in program.steps):
        return program
    where = program.steps.index(head)
    norm = program.steps[where - 1]
    assert isinstance(norm, Norm)
    turn = Matvec(HEAD_ROTATION, src="h", dst="x")
    again = Quantize("x", "h", norm.activation_bits)
    steps = (*program.steps[:where], turn, again, head, Sample())
    return replace(program, steps=steps)
