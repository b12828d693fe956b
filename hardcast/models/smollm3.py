"""SmolLM3: the Llama decoder in which some layers, every fourth, turn neither q nor k."""

from __future__ import annotations

from hardcast.models.common import Decoder

ARCHITECTURE = Decoder()
