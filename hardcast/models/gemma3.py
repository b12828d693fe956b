"""Gemma 3 (text): a norm before and one behind each half of a layer, tanh-GELU, local layers.

Heads of q and k are normed as in Qwen 3. The embedding is multiplied by sqrt(hidden_size), which
units.py folds away; local layers see a window and have a RoPE of their own.
"""

from __future__ import annotations

from hardcast.models.common import Decoder, LayerNorms

ARCHITECTURE = Decoder(
    head_norm=True,
    norms=LayerNorms(
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ),
    gate="gelu_tanh",
)
