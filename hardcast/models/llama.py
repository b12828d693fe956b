"""Llama 2, 3, 3.1, 3.2, 3.3, and what shares their form: SmolLM2, TinyLlama, Mistral.

The plain decoder. What varies inside the family is data, not steps: Llama 3.1 stretches RoPE
(`rope_scaling`, another ROM), Mistral 7B v0.1 sees a window (`sliding_window`), small models tie
the head to the embedding (`tie_word_embeddings`).
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
