"""The units that a chip has a model's values in, where they are not the checkpoint's.

A helper of this room, not an architecture. A norm does not see the scale of what it norms, so a
chip may choose it; powers of two only move the shift of a row, so a stored grid stays exact.

* Gemma multiplies the embedding by sqrt(hidden_size), which no row's shift can. Its residual is
  kept times 2^k / sqrt(hidden_size), k = round(log2 sqrt(hidden_size)): so is the embedding, times
  2^k, and what norms behind add. The last norm's gain takes 2^k out again for a tied head.
* What a norm behind reads is kept times 2^BEHIND: it may be small, and its point is the residual's.
* A score scale of its own (query_pre_attn_scalar) goes into the gain of q's norm.
"""

from __future__ import annotations

import math
from fractions import Fraction

from hardcast.checkpoint.config import FAMILIES, ModelConfig
from hardcast.numerics.points import Points
from hardcast.program.program import Program
from hardcast.program.step import HeadNorm, Matvec, Norm

BEHIND = 4


def factors(config: ModelConfig, program: Program) -> dict[str, float]:
    """What the chip's tensor is of the checkpoint's, by image name; 1 for all others.

    A matrix's bias has its factor.
    """
    exponent = _embedding_exponent(config)
    residual = 2.0**exponent / math.sqrt(config.hidden_size) if exponent else 1.0
    found: dict[str, float] = {}
    if exponent:
        found["embed_tokens"] = 2.0**exponent
    written: list[Matvec] = []
    for step in program.steps:
        match step:
            case Matvec(dst="y"):
                written = [step]
            case HeadNorm(buffer="y"):
                for matvec in written:
                    found |= dict.fromkeys(_tensors(matvec), 2.0**BEHIND)
                found[step.gain] = residual
            case HeadNorm(buffer="q") if config.query_pre_attn_scalar is not None:
                found[step.gain] = math.sqrt(config.head_dim / config.query_pre_attn_scalar)
            case Norm() if config.tie_word_embeddings and step.gain == "norm":
                found[step.gain] = 2.0**-exponent
    return {name: factor for name, factor in found.items() if factor != 1}


def epsilon(config: ModelConfig, buffer: str) -> Fraction:
    """rms_norm_eps in the units of what is normed: x, y (by a norm behind), q or k."""
    own = Fraction(config.rms_norm_eps)
    exponent = _embedding_exponent(config)
    if buffer == "x" and exponent:
        return own * 4**exponent / config.hidden_size
    return own * 4**BEHIND if buffer == "y" else own


def constants(config: ModelConfig, program: Program, points: Points) -> dict[str, int]:
    """The image's epsilons by name: rms_norm_eps * n * 4^point of what is normed, n channels.

    norm_epsilon and head_epsilon always, the others where a step adds them.
    """
    found = {
        "norm_epsilon": epsilon(config, "x") * config.hidden_size * 4**points.residual,
        "head_epsilon": epsilon(config, "q") * config.head_dim * 4**points.qk,
    }
    for step in program.steps:
        if isinstance(step, HeadNorm):
            own = epsilon(config, step.buffer) * program.part(step) * 4 ** points.of(step.buffer)
            found.setdefault(program.epsilon(step), own)
    return {name: round(value) for name, value in found.items()}


def _embedding_exponent(config: ModelConfig) -> int:
    """k where the embedding is scaled by sqrt(hidden_size), else 0."""
    if not FAMILIES[config.architecture].scaled_embedding:
        return 0
    return round(math.log2(config.hidden_size) / 2)


def _tensors(step: Matvec) -> list[str]:
    return [step.matrix] + ([step.bias] if step.bias is not None else [])
