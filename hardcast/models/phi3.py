"""Phi-3, Phi-3.5 mini and Phi-4 mini: the Llama decoder.

What differs is a matter of rows, which checkpoint/arranged.py settles: q, k and v are stored as one
matrix, gate and up as another, and RoPE may turn only a part of each head.
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
        config, activation_bits=activation_bits, head_activation_bits=head_activation_bits
    )
