"""OLMo 2: no norm before the halves of a layer, one behind each, and one over all of q and of k."""

from __future__ import annotations

from hardcast.checkpoint.config import ModelConfig
from hardcast.models.common import (
    ACTIVATION_BITS,
    HEAD_ACTIVATION_BITS,
    LayerNorms,
    decoder_program,
)
from hardcast.program.program import Program

NORMS = LayerNorms(None, "post_attention_layernorm", None, "post_feedforward_layernorm")


def build_program(
    config: ModelConfig,
    activation_bits: int = ACTIVATION_BITS,
    head_activation_bits: int = HEAD_ACTIVATION_BITS,
) -> Program:
    """One token's forward pass; see `common.decoder_program` for the arguments and errors."""
    return decoder_program(
        config,
        whole_norm=True,
        norms=NORMS,
        activation_bits=activation_bits,
        head_activation_bits=head_activation_bits,
    )
