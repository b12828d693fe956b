"""Qwen 3 (dense): the Llama decoder with an RMS norm of each head of q and k before RoPE.

Qwen 3 sets head_dim on its own: num_attention_heads * head_dim need not be hidden_size.
"""

from __future__ import annotations

from hardcast.checkpoint.config import ModelConfig
from hardcast.models.common import ACTIVATION_BITS, HEAD_ACTIVATION_BITS, decoder_program
from hardcast.program.program import Program


def build_program(
    config: ModelConfig,
    activation_bits: int = ACTIVATION_BITS,
    head_activation_bits: int = HEAD_ACTIVATION_BITS,
) -> Program:
    """One token's forward pass; see `common.decoder_program` for the arguments and errors."""
    return decoder_program(
        config,
        head_norm=True,
        activation_bits=activation_bits,
        head_activation_bits=head_activation_bits,
    )
