"""Llama 2, 3, 3.1, 3.2, 3.3, and what shares their form: SmolLM2, TinyLlama, Mistral.

The plain decoder. What varies inside the family is data, not steps: Llama 3.1 stretches RoPE
(`rope_scaling`, another ROM), Mistral 7B v0.1 sees a window (`sliding_window`), small models tie
the head to the embedding (`tie_word_embeddings`).
"""

from __future__ import annotations

from hardcast.models.common import Decoder

ARCHITECTURE = Decoder()
