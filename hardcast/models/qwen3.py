"""Qwen 3 (dense): the Llama decoder with an RMS norm of each head of q and k before RoPE.

Qwen 3 sets head_dim on its own: num_attention_heads * head_dim need not be hidden_size.
"""

from __future__ import annotations

from hardcast.models.common import Decoder

ARCHITECTURE = Decoder(head_norm=True)
