"""The kinds of step a chip can run. A program is a tuple of these, in order.

Every executor (golden, engine; later RTL and the cycle model) interprets the same dataclasses. A
step names its operands: `src`/`dst` are buffers of one token, `matrix`, `gain`, `bias` are names of
tensors in the image. Binary points are properties of the image (numerics/points.py), not of a step.

Buffers and what they hold (T tokens):
    x        residual stream, int32[T, hidden_size]
    h        input of a matrix, block-quantised: normalised, or after QUANTIZE as it was
    q, k, v  int32[T, heads * head_dim]
    a        attention output, block-quantised, [T, num_attention_heads * head_dim]
    g, u     int32[T, intermediate_size];  f  their gated product, block-quantised
    y        what is added to the residual, int32[T, hidden_size]
    logits   int32[T, vocab_size]
"""

from __future__ import annotations

from dataclasses import dataclass

GATE_TABLES = ("sigmoid", "gelu_tanh")
"""ROMs of what a gate is multiplied by itself with, t(-g) = 1 - t(g)."""

ROPE_TABLES = ("rope", "rope_local")
"""Sin/cos ROMs that a program may turn by: one for all layers, and one of the local layers' own."""


@dataclass(frozen=True)
class Embed:
    """x = row `token` of the embedding matrix."""

    matrix: str
    dst: str = "x"


@dataclass(frozen=True)
class Norm:
    """RMS norm of the residual stream with a gain per channel, quantised for the next MATVECs."""

    gain: str
    src: str = "x"
    dst: str = "h"
    activation_bits: int = 8


@dataclass(frozen=True)
class Quantize:
    """dst = src, block-quantised for the next MATVECs and otherwise as it is: no norm, no gain.

    A rotated model whose head is tied to the embedding turns the normed residual before it meets
    that matrix (`Matvec("head_rotation", "h", "x")`), and the head reads what came out.
    """

    src: str = "x"
    dst: str = "h"
    activation_bits: int = 8


@dataclass(frozen=True)
class HeadNorm:
    """RMS norm of each of `num_heads` equal parts of a buffer, in place.

    Of each head of q or k (Qwen 3, Gemma 3), of all of q or k (OLMo 2: num_heads 1), or of y before
    it is added to the residual (Gemma 3, OLMo 2: num_heads 1). gain: one value a channel of a part.
    """

    gain: str
    buffer: str
    num_heads: int


@dataclass(frozen=True)
class Matvec:
    """dst = matrix @ src (+ bias). `src` is block-quantised, `dst` int32 at dst's binary point."""

    matrix: str
    src: str
    dst: str
    bias: str | None = None


@dataclass(frozen=True)
class Rope:
    """Rotates pairs (i, i + head_dim/2) of each head by position; then one int8 block a head.

    table: which of ROPE_TABLES holds the angles, or None: not turned, only brought to the binary
    point of what is turned.
    """

    buffer: str
    num_heads: int
    table: str | None = "rope"


@dataclass(frozen=True)
class KvWrite:
    """Stores this position's k (after ROPE) and v, each as one int8 block a head."""

    layer: int


@dataclass(frozen=True)
class Attend:
    """a = softmax(q.K) V over the cached positions, quantised for o_proj.

    window: number of most recent positions visible (sliding window), or None for all.
    """

    layer: int
    dst: str = "a"
    window: int | None = None
    activation_bits: int = 8


@dataclass(frozen=True)
class GateMul:
    """f = g * t(g) * u, quantised for down_proj. table: the ROM of t, one of GATE_TABLES.

    "sigmoid" makes g * t(g) SiLU, "gelu_tanh" GELU as its tanh formula has it.
    """

    table: str = "sigmoid"
    gate: str = "g"
    up: str = "u"
    dst: str = "f"
    activation_bits: int = 8


@dataclass(frozen=True)
class Add:
    """dst += src, saturated to int32 element by element; no rounding."""

    src: str = "y"
    dst: str = "x"


@dataclass(frozen=True)
class Sample:
    """Chooses the next token from the logits (greedy, or temperature / top-k / top-p)."""

    src: str = "logits"


Step = (
    Embed | Norm | Quantize | HeadNorm | Matvec | Rope | KvWrite | Attend | GateMul | Add | Sample
)

KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        Embed,
        Norm,
        Quantize,
        HeadNorm,
        Matvec,
        Rope,
        KvWrite,
        Attend,
        GateMul,
        Add,
        Sample,
    )
}
