"""The float forward pass: a program's steps in real numbers. The baseline that the chip is held to.

It interprets the same steps as golden does, with float32 activations (RMS and angles in float64),
so it serves every architecture. Memory is bounded: attention works on blocks of queries, and
weights are fetched when a step reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardcast.checkpoint.config import ModelConfig
from hardcast.errors import HardcastError
from hardcast.models import units
from hardcast.program.program import Program
from hardcast.program.step import (
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

QUERY_BLOCK = 128  # queries whose scores are in memory at once
LOGIT_BLOCK = 64  # positions whose logits are made at once

Buffers = dict[str, np.ndarray]
"""Buffers of a program by name, float32[T, width]; "keys" and "values" hold the layer's k and v."""


@dataclass
class Kept:
    """A forward pass to resume: x before each NORM, by the step's index, and the logits."""

    tokens: np.ndarray
    residuals: dict[int, np.ndarray]
    logits: np.ndarray


class FloatModel:
    """A program run in float on whole sequences, each from an empty context."""

    def __init__(
        self,
        program: Program,
        config: ModelConfig,
        tensor: Callable[[str], np.ndarray],
        cache: bool = False,
    ) -> None:
        """
        Args:
            program: the steps.
            config: rms_norm_eps and RoPE, which a program does not carry.
            tensor: float32 tensor of an image name ("layers.0.q_proj") in the chip's units, as
                folding.py's sources give it; called once a step.
            cache: keep every tensor after its first use. 4 bytes a parameter: for small models.
        """
        self.program = program
        self._epsilon = {buffer: float(units.epsilon(config, buffer)) for buffer in "xyqk"}
        self._frequencies = rope_frequencies(program, config)
        self._fetch = tensor
        self._cache: dict[str, np.ndarray] | None = {} if cache else None
        self._replaced: Mapping[str, np.ndarray] = {}

    def logits(self, token_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Logits at every position: float32[T, vocab_size].

        Raises:
            HardcastError: no tokens, or a token outside the vocabulary.
        """
        out = np.empty((len(token_ids), self.program.shape.vocab_size), np.float32)
        start = 0
        for block in self.logit_blocks(token_ids):
            out[start : start + len(block)] = block
            start += len(block)
        return out

    def logit_blocks(
        self, token_ids: Sequence[int] | np.ndarray, block: int = LOGIT_BLOCK
    ) -> Iterator[np.ndarray]:
        """Logits in blocks of `block` positions: float32[<= block, vocab_size] each.

        A large vocabulary times a long context need never be in memory as a whole.
        """
        tokens = np.asarray(token_ids, np.int64)
        vocab_size = self.program.shape.vocab_size
        if tokens.ndim != 1 or tokens.size == 0:
            raise HardcastError("the float model needs at least one token")
        if tokens.min() < 0 or tokens.max() >= vocab_size:
            raise HardcastError(f"a token is outside the vocabulary of {vocab_size}")
        buffers: Buffers = {}
        for step in self.program.steps:
            if isinstance(step, Matvec) and step.dst == "logits":
                source, weight = buffers[step.src], self._tensor(step.matrix)
                for start in range(0, len(tokens), block):
                    yield source[start : start + block] @ weight.T
                return
            self._run(step, tokens, buffers)

    def checkpointed(self, tokens: np.ndarray) -> Kept:
        """Runs int64[T] tokens and keeps x before every NORM, for `resume`."""
        kept = Kept(tokens, {0: np.zeros(0, np.float32)}, np.zeros(0, np.float32))
        kept.logits = self._from(kept, 0, {}, keep=True)
        return kept

    def resume(self, kept: Kept, first: int, replaced: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits float32[T, vocab_size] with some tensors replaced.

        first: 0, or the index of a NORM before which no step reads a replaced tensor.
        """
        return self._from(kept, first, replaced, keep=False)

    def _from(
        self, kept: Kept, first: int, replaced: Mapping[str, np.ndarray], keep: bool
    ) -> np.ndarray:
        buffers: Buffers = {"x": kept.residuals[first]}
        self._replaced = replaced
        for index, step in enumerate(self.program.steps[first:], first):
            if keep and isinstance(step, Norm):
                kept.residuals[index] = buffers["x"]
            self._run(step, kept.tokens, buffers)
        self._replaced = {}
        return buffers["logits"]

    def _tensor(self, name: str) -> np.ndarray:
        if name in self._replaced:
            return self._replaced[name]
        if self._cache is None:
            return self._fetch(name)
        if name not in self._cache:
            self._cache[name] = self._fetch(name)
        return self._cache[name]

    def _run(self, step: Step, tokens: np.ndarray, buffers: Buffers) -> None:
        match step:
            case Embed():
                buffers[step.dst] = self._tensor(step.matrix)[tokens].astype(np.float32)
            case Norm():
                gain = self._tensor(step.gain)
                buffers[step.dst] = rms_norm(buffers[step.src], gain, self._epsilon[step.src])
            case Quantize():
                buffers[step.dst] = buffers[step.src]
            case HeadNorm():
                heads = _split_heads(buffers[step.buffer], step.num_heads)
                normed = rms_norm(heads, self._tensor(step.gain), self._epsilon[step.buffer])
                buffers[step.buffer] = normed.reshape(len(tokens), -1)
            case Matvec():
                product = buffers[step.src] @ self._tensor(step.matrix).T
                if step.bias is not None:
                    product += self._tensor(step.bias)
                buffers[step.dst] = product
            case Rope():
                heads = _split_heads(buffers[step.buffer], step.num_heads)
                rotated = rope(heads, np.arange(len(tokens)), self._frequencies[step.table])
                buffers[step.buffer] = rotated.reshape(len(tokens), -1)
            case KvWrite():
                buffers["keys"], buffers["values"] = buffers["k"], buffers["v"]
            case Attend():
                kv_heads = self.program.shape.num_key_value_heads
                keys = _split_heads(buffers["keys"], kv_heads)
                values = _split_heads(buffers["values"], kv_heads)
                queries = _split_heads(buffers["q"], self.program.shape.num_attention_heads)
                a = attend(queries, keys, values, step.window)
                buffers[step.dst] = a.reshape(len(tokens), -1)
            case GateMul():
                gated = gate(buffers[step.gate], step.table) * buffers[step.up]
                buffers[step.dst] = gated
            case Add():
                buffers[step.dst] = buffers[step.dst] + buffers[step.src]
            case Sample():
                pass  # choosing a token is the sampler's business


def _split_heads(x: np.ndarray, num_heads: int) -> np.ndarray:
    """float32[T, heads * head_dim] -> float32[T, heads, head_dim], a view."""
    return x.reshape(len(x), num_heads, -1)


def rms_norm(x: np.ndarray, gain: np.ndarray, epsilon: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + epsilon) * gain over the last axis; float32, the mean in float64.

    x: float32[..., n]; gain: float32[n].
    """
    mean_square = np.square(x, dtype=np.float64).mean(axis=-1, keepdims=True)
    return (x * (1.0 / np.sqrt(mean_square + epsilon)).astype(np.float32)) * gain


def rope_frequencies(program: Program, config: ModelConfig) -> dict[str | None, np.ndarray]:
    """Of each table that a program turns by: float64[head_dim / 2], radians a position.

    None, the table of steps that do not turn, has zeros.
    """
    found: dict[str | None, np.ndarray] = {None: np.zeros(program.shape.head_dim // 2)}
    for name in program.rope_tables():
        found[name] = np.array([float(f) for f in config.frequencies(name)], np.float64)
    return found


def rope(x: np.ndarray, positions: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Rotates pairs (i, i + head_dim/2) of each head by position * frequency.

    x: float32[T, heads, head_dim]; positions: int64[T]; frequencies: float64[head_dim / 2],
    radians a position. Returns x's shape.
    """
    angles = positions[:, None] * frequencies
    cos = np.cos(angles).astype(np.float32)[:, None, :]
    sin = np.sin(angles).astype(np.float32)[:, None, :]
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def attend(
    q: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    window: int | None,
    query_block: int = QUERY_BLOCK,
) -> np.ndarray:
    """Causal softmax(q k / sqrt(head_dim)) v; consecutive query heads share a key/value head.

    q: float32[T, heads, head_dim]; keys, values: float32[T, kv_heads, head_dim];
    window: a query sees itself and the window - 1 positions before it; None: all before it.
    Returns float32[T, heads, head_dim]. Scores in memory: heads/kv_heads * query_block * T.
    """
    tokens, num_heads, head_dim = q.shape
    kv_heads = keys.shape[1]
    shared = num_heads // kv_heads
    scale = np.float32(head_dim**-0.5)
    grouped = (q * scale).reshape(tokens, kv_heads, shared, head_dim)
    out = np.empty_like(grouped)
    for start in range(0, tokens, query_block):
        end = min(start + query_block, tokens)
        first = 0 if window is None else max(0, start - window + 1)
        queries, positions = np.arange(start, end)[:, None], np.arange(first, end)
        hidden = positions > queries
        if window is not None:
            hidden |= positions <= queries - window
        for head in range(kv_heads):
            # Rows are (query, shared head): one matrix product for all that read these keys.
            rows = grouped[start:end, head].reshape(-1, head_dim)
            scores = (rows @ keys[first:end, head].T).reshape(end - start, shared, -1)
            np.copyto(scores, -np.inf, where=hidden[:, None, :])
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            mixed = scores.reshape(len(rows), -1) @ values[first:end, head]
            out[start:end, head] = mixed.reshape(end - start, shared, head_dim)
    return out.reshape(tokens, num_heads, head_dim)


def gate(g: np.ndarray, table: str) -> np.ndarray:
    """g * table(g), the gating nonlinearity: "sigmoid" makes it SiLU, "gelu_tanh" GELU.

    float32, g's shape. Raises HardcastError for another table.
    """
    if table == "gelu_tanh":
        inner = np.float32(math.sqrt(2 / math.pi)) * (g + np.float32(0.044715) * g * g * g)
        return np.float32(0.5) * g * (1 + np.tanh(inner))
    if table != "sigmoid":
        raise HardcastError(f"the float model knows no gating table {table!r}")
    # exp overflows float32 beyond 88; sigmoid(-80) is already below any product that matters.
    return g / (1.0 + np.exp(-np.maximum(g, np.float32(-80.0))))
