"""Gemma 3's two kinds of layer: local ones see a window and have a RoPE of their own.

Without a word on it every sixth layer is global. Linear scaling is the global layers' alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hardcast.checkpoint.config import Family, Fields, Layer, LocalRope
from hardcast.checkpoint.rope.hf import Rope, rope
from hardcast.errors import HardcastError

PATTERN = 6
GLOBAL_THETA, LOCAL_THETA = 1e6, 1e4
GLOBAL, LOCAL = "full_attention", "sliding_attention"  # of layer_types and rope_parameters


def alternating(count: int, window: int | None, pattern: int = PATTERN) -> tuple[Layer, ...]:
    """`count` layers of which every `pattern`-th is global."""
    local = Layer(window, "rope_local")
    return tuple(Layer() if (i + 1) % pattern == 0 else local for i in range(count))


def of_kinds(kinds: list[str], window: int | None) -> tuple[Layer, ...]:
    """Layers by their names in layer_types."""
    return tuple(Layer(window, "rope_local") if kind == LOCAL else Layer() for kind in kinds)


def hf_ropes(fields: Fields, family: Family) -> tuple[Rope, LocalRope]:
    """The global RoPE, with the keys that nobody reads, and the local one, of a config.json.

    As in transformers: rope_parameters has a table a kind of layer, and rope_scaling, which is
    older, adds to the global one. Raises HardcastError for a type that is not understood.
    """
    stated = fields.values.get("rope_parameters") or {}
    older = fields.values.get("rope_scaling") or {}
    tables = (
        [stated, older, *(stated.get(kind) or {} for kind in (GLOBAL, LOCAL))]
        if isinstance(stated, dict)
        else [stated]
    )
    for table in tables:
        if not isinstance(table, dict):
            raise HardcastError(f"{fields.where}: RoPE's table is {table!r:.60}, not an object")
    unknown = [f"rope_parameters.{key}" for key in stated if key not in (GLOBAL, LOCAL)]

    def own(kind: str, base: str, default: float, more: dict[str, Any]) -> Fields:
        table = {**(stated.get(kind) or {}), **more}
        length = fields.values.get("max_position_embeddings")
        values = {"rope_theta": fields.number(base, default), "rope_parameters": table}
        return Fields(fields.where, {**values, "max_position_embeddings": length})

    found = rope(own(GLOBAL, "rope_theta", GLOBAL_THETA, older), family)
    local = rope(own(LOCAL, "rope_local_base_freq", LOCAL_THETA, {}), family)
    unknown += found.unknown + local.unknown
    return replace(found, unknown=unknown), LocalRope(local.theta, local.scaling)
