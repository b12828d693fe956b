"""OLMo 2: no norm before the halves of a layer, one behind each, and one over all of q and of k."""

from __future__ import annotations

from hardcast.models.common import Decoder, LayerNorms

ARCHITECTURE = Decoder(
    whole_norm=True,
    norms=LayerNorms(None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
)
