"""Qwen 2 and Qwen 2.5: the Llama decoder with a bias on the q, k and v projections."""

from __future__ import annotations

from hardcast.models.common import Decoder

ARCHITECTURE = Decoder(biases=("q_proj", "k_proj", "v_proj"))
