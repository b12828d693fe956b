"""Phi-3, Phi-3.5 mini and Phi-4 mini: the Llama decoder.

What differs is a matter of rows, which checkpoint/arranged.py settles: q, k and v are stored as one
matrix, gate and up as another, and RoPE may turn only a part of each head.
"""

from __future__ import annotations

from hardcast.models.common import Decoder

ARCHITECTURE = Decoder()
