"""SmolLM3: the Llama decoder in which some layers, every fourth, turn neither q nor k."""

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
