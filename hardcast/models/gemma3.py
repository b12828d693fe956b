"""Gemma 3 (text): a norm before and one behind each half of a layer, tanh-GELU, local layers.

Heads of q and k are normed as in Qwen 3. The embedding is multiplied by sqrt(hidden_size), which
units.py folds away; local layers see a window and have a RoPE of their own.
"""

from __future__ import annotations

from hardcast.checkpoint.config import ModelConfig
from hardcast.models.common import (
    ACTIVATION_BITS,
    HEAD_ACTIVATION_BITS,
    LayerNorms,
    decoder_program,
)
from hardcast.program.program import Program

NORMS = LayerNorms(
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


def build_program(
    config: ModelConfig,
    activation_bits: int = ACTIVATION_BITS,
    head_activation_bits: int = HEAD_ACTIVATION_BITS,
) -> Program:
    """One token's forward pass; see `common.decoder_program` for the arguments and errors."""
    return decoder_program(
        config,
        head_norm=True,
        norms=NORMS,
        gate="gelu_tanh",
        activation_bits=activation_bits,
        head_activation_bits=head_activation_bits,
    )
