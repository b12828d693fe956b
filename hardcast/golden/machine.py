"""Runs an image's program step by step in NumPy: slow, and right by definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hardcast.errors import HardcastError
from hardcast.golden import sampler, steps
from hardcast.golden.steps import Normed, Weights
from hardcast.image import Image
from hardcast.numerics import tables
from hardcast.numerics.blocks import (
    HEAD_BITS,
    HEAD_MAGNITUDE_BITS,
    Blocks,
    quantize_blocks,
)
from hardcast.numerics.sampling import SamplerSettings
from hardcast.program import step as kinds


class Golden:
    """The reference executor of one image. `session()` opens an empty context."""

    name = "golden"

    def __init__(self, image: Image) -> None:
        self.image = image
        for name, build_table in tables.needed(image.program.gate_tables()).items():
            if not np.array_equal(image.tensor(name), build_table()):
                raise HardcastError(f"{image.path}: table {name} is not this Hardcast's")
        self._weights: dict[str, Weights] = {}

    def session(self) -> Session:
        """An empty context."""
        return Session(self)

    def sample(self, logits: np.ndarray, settings: SamplerSettings, position: int) -> int:
        """The next token from one row of logits; `position` is the new token's position."""
        return sampler.sample(logits, settings, position, self.image.points.logits)

    def weights(self, name: str) -> Weights:
        """A matrix as integers, kept in memory once used."""
        if name not in self._weights:
            matrix = self.image.matrix(name)
            self._weights[name] = Weights(
                matrix.integers(),
                matrix.row_multiplier.astype(np.int64),
                matrix.row_shift.astype(np.int64),
                self.image.matrices[name]["sum_bits"],
            )
        return self._weights[name]

    def tensor(self, name: str) -> np.ndarray:
        """A table, gain or bias as int64, in its stored shape."""
        return self.image.tensor(name).astype(np.int64)


@dataclass
class Session:
    """One context: the keys and values of the tokens so far."""

    golden: Golden
    length: int = 0
    _keys: dict[int, list[np.ndarray]] = field(default_factory=dict)
    _values: dict[int, list[np.ndarray]] = field(default_factory=dict)

    def forward(self, tokens: Sequence[int], logits: str = "last") -> np.ndarray:
        """Appends tokens. Returns int32[n, vocab_size]: n is all, 1 ("last") or 0 ("none").

        The result does not depend on how a text is cut into calls.
        Raises ValueError for an id outside the vocabulary or more tokens than the context.
        """
        image, shape = self.golden.image, self.golden.image.program.shape
        if self.length + len(tokens) > image.context:
            raise ValueError(f"{self.length} + {len(tokens)} tokens exceed context {image.context}")
        if not all(0 <= t < shape.vocab_size for t in tokens):
            raise ValueError(f"token id outside 0..{shape.vocab_size - 1}")
        wanted = {"all": len(tokens), "last": min(len(tokens), 1), "none": 0}[logits]
        if not len(tokens):
            return np.zeros((0, shape.vocab_size), np.int32)
        run = _Pass(self, np.asarray(tokens, np.int64), wanted)
        for step in image.program.steps:
            run.do(step)
        self.length += len(tokens)
        return run.ints("logits").astype(np.int32)

    def truncate(self, length: int) -> None:
        """Forgets every position from `length` on (prefix reuse)."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate {self.length} positions to {length}")
        self.length = length
        for cache in (self._keys, self._values):
            for rows in cache.values():
                del rows[length:]


class _Pass:
    """One forward pass over T new tokens: the buffers, and one branch a kind of step."""

    def __init__(self, session: Session, tokens: np.ndarray, wanted: int) -> None:
        self.session, self.golden = session, session.golden
        self.image = session.golden.image
        self.points, self.shape = self.image.points, self.image.program.shape
        self.tokens, self.wanted = tokens, wanted
        self.positions = session.length + np.arange(len(tokens))
        self.buffers: dict[str, np.ndarray | Blocks | Normed] = {}

    def ints(self, name: str) -> np.ndarray:
        value = self.buffers[name]
        assert isinstance(value, np.ndarray)
        return value

    def do(self, step: kinds.Step) -> None:
        points = self.points
        match step:
            case kinds.Embed():
                weights = self.golden.weights(step.matrix)
                self.buffers[step.dst] = steps.embed(weights, self.tokens, points.residual)
            case kinds.Norm():
                gain, epsilon = self._norm_of(step)
                self.buffers[step.dst] = steps.norm(
                    self.ints(step.src), gain, epsilon, points, step.activation_bits
                )
            case kinds.Quantize():
                self.buffers[step.dst] = quantize_blocks(self.ints(step.src), step.activation_bits)
            case kinds.HeadNorm():
                gain, epsilon = self._norm_of(step)
                x, point = self.ints(step.buffer), points.of(step.buffer)
                self.buffers[step.buffer] = steps.head_norm(x, gain, epsilon, points, point)
            case kinds.Matvec():
                self.buffers[step.dst] = self._matvec(step)
            case kinds.Rope():
                self.buffers[step.buffer] = self._head_blocks(self._turned(step))
            case kinds.KvWrite():
                values = self._head_blocks(self.ints("v"))
                self.session._keys.setdefault(step.layer, []).extend(self.ints("k"))
                self.session._values.setdefault(step.layer, []).extend(values)
            case kinds.Attend():
                a = self._attend(step)
                self.buffers[step.dst] = quantize_blocks(a, step.activation_bits)
            case kinds.GateMul():
                g, u = self.ints(step.gate), self.ints(step.up)
                table, range_bits = self.golden.tensor(step.table), tables.GATE_RANGE[step.table]
                f = steps.gate_mul(g, u, table, range_bits, points)
                self.buffers[step.dst] = quantize_blocks(f, step.activation_bits)
            case kinds.Add():
                self.buffers[step.dst] = steps.add(self.ints(step.dst), self.ints(step.src))
            case kinds.Sample():
                pass  # the host asks for it: Golden.sample

    def _norm_of(self, step: kinds.Norm | kinds.HeadNorm) -> tuple[np.ndarray, int]:
        """Gains and epsilon of a norm."""
        epsilon = self.image.constants[self.image.program.epsilon(step)]
        return self.golden.tensor(step.gain), epsilon

    def _turned(self, step: kinds.Rope) -> np.ndarray:
        x, name = self.ints(step.buffer), step.table
        if name is None:
            return steps.unturned(x, self.points)
        coarse, fine = self.golden.tensor(f"{name}_coarse"), self.golden.tensor(f"{name}_fine")
        return steps.rope(x, self.positions, coarse, fine, self.points)

    def _head_blocks(self, x: np.ndarray) -> np.ndarray:
        """One int8 block a head, as code << exponent: int64 of x's shape."""
        dim = self.shape.head_dim
        return quantize_blocks(x, HEAD_BITS, dim, HEAD_MAGNITUDE_BITS).values

    def _matvec(self, step: kinds.Matvec) -> np.ndarray:
        points = self.points
        src = self.buffers[step.src]
        assert isinstance(src, Blocks | Normed)
        point_h = points.norm_extra if isinstance(src, Normed) else points.residual
        point_in = {"a": points.a, "f": points.f, "h": point_h}[step.src]
        if step.dst == "logits":  # only the rows that were asked for
            src = _last_rows(src, self.wanted)
        weights = self.golden.weights(step.matrix)
        bias = None if step.bias is None else self.golden.tensor(step.bias)
        return steps.matvec(weights, src, point_in, points.of(step.dst), bias)

    def _attend(self, step: kinds.Attend) -> np.ndarray:
        shape, dim = self.shape, self.shape.head_dim
        keys = np.array(self.session._keys[step.layer])
        values = np.array(self.session._values[step.layer])
        distance = self.positions[:, None] - np.arange(len(keys))
        visible = distance >= 0
        if step.window is not None:
            visible &= distance < step.window
        q, heads = self.ints("q"), []
        for head in range(shape.num_attention_heads):
            kv = head // (shape.num_attention_heads // shape.num_key_value_heads)
            mine, theirs = slice(head * dim, (head + 1) * dim), slice(kv * dim, (kv + 1) * dim)
            heads.append(
                steps.attend(q[:, mine], keys[:, theirs], values[:, theirs], visible, self.points)
            )
        return np.concatenate(heads, axis=1)


def _last_rows(src: Blocks | Normed, count: int) -> Blocks | Normed:
    """The last `count` tokens of a quantised buffer."""
    if isinstance(src, Normed):
        start = len(src.r) - count
        blocks = _last_rows(src.blocks, count)
        assert isinstance(blocks, Blocks)
        return Normed(blocks, src.r[start:], src.halfshift[start:])
    start = len(src.codes) - count
    return Blocks(src.codes[start:], src.exponents[start:], src.bits, src.block)
