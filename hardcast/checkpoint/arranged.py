"""A checkpoint whose rows are stored in another order, together, or under another unit.

Three things that are a matter of rows alone, so that no step has to know them, and a stored grid
keeps its codes: q, k and v in one matrix (gate and up likewise); RoPE of a part of each head, which
turns pairs (i, i + rotary_dim/2) where the chip turns (i, i + head_dim/2): the rows of q and k move
alike, which no score can see; and a factor on what is turned (YaRN, LongRoPE), which q carries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hardcast.checkpoint.base import Checkpoint, Grid, GridForm
from hardcast.checkpoint.config import FAMILIES, ModelConfig


@dataclass(frozen=True)
class Rows:
    """Where a tensor's rows are. stored: its name there; order: int64[rows], row of each of ours.

    factor: float32[rows] that multiplies them, or None.
    """

    stored: str
    order: np.ndarray
    factor: np.ndarray | None = None


def arranged(stored: Checkpoint) -> Checkpoint:
    """The checkpoint itself where its rows are already those of the model."""
    config = stored.config
    moved = FAMILIES[config.architecture].fused or config.rotary_dim is not None
    return Arranged(stored) if moved or config.attention_factor != 1 else stored


class Arranged:
    """See base.Checkpoint for what each method gives."""

    def __init__(self, stored: Checkpoint) -> None:
        self._stored = stored
        self.path, self.config, self.notes = stored.path, stored.config, stored.notes
        self._shapes = self.config.tensor_shapes()

    def names(self) -> list[str]:
        """Every tensor of the model, each by itself."""
        return list(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """As the model has it."""
        return self._shapes[name] if name in self._shapes else self._stored.shape(name)

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        """float32, the rows gathered, and times their factor."""
        place = self._rows(name)
        if place is None:
            return self._stored.tensor(name, rows)
        found = place.order[rows or slice(None)]
        if len(self.shape(name)) == 1:
            values = self._stored.tensor(place.stored)[found]
        else:
            first, near = _near(found)
            values = self._stored.tensor(place.stored, near)[found - first]
        factor = _factor(place, rows, values.ndim)
        return values if factor is None else values * factor

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """The stored codes; a factor goes into scales and minima."""
        place = self._rows(name)
        if place is None:
            return self._stored.grid(name, rows)
        found = place.order[rows or slice(None)]
        first, near = _near(found)
        grid = self._stored.grid(place.stored, near)
        if grid is None:
            return None
        factor = _factor(place, rows, 2)
        scale, minimum = grid.scale[found - first], grid.minimum
        minimum = None if minimum is None else minimum[found - first]
        if factor is not None:
            scale = scale * factor
            minimum = None if minimum is None else minimum * factor
        return replace(grid, codes=grid.codes[found - first], scale=scale, minimum=minimum)

    def grid_form(self, name: str) -> GridForm | None:
        """Of the matrix that holds it."""
        place = self._rows(name)
        return self._stored.grid_form(name if place is None else place.stored)

    def tokenizer_source(self) -> dict[str, Any]:
        """The stored checkpoint's."""
        return self._stored.tokenizer_source()

    def _rows(self, name: str) -> Rows | None:
        """Where the rows are, or None for a tensor that is as it is."""
        config, parts = self.config, name.split(".")
        if name not in self._shapes or len(parts) != 6:
            return None
        role = parts[4]
        place = Rows(name, np.arange(self._shapes[name][0]))
        if FAMILIES[config.architecture].fused:
            place = _within(config, name, role, place)
        if role in ("q_proj", "k_proj") and config.rotary_dim:
            heads = len(place.order) // config.head_dim
            place = replace(place, order=place.order[pair_order(config, heads)])
        turned = config.layer(int(parts[2])).rope == "rope"
        family = FAMILIES[config.architecture]
        carries = "q_norm" if family.head_norms or family.whole_norms else "q_proj"
        if role == carries and turned and config.attention_factor != 1:
            heads = len(place.order) // config.head_dim
            place = replace(place, factor=np.tile(_of_head(config), heads))
        plain = place.stored == name and config.rotary_dim is None and place.factor is None
        return None if plain else place


def pair_order(config: ModelConfig, heads: int) -> np.ndarray:
    """int64[heads * head_dim]: rows of heads, as the chip pairs them.

    Row i of a head meets row i + head_dim/2: first the pairs of the rotary_dim that are turned,
    then what stays.
    """
    rotary, half = config.rotary_dim or config.head_dim, config.head_dim // 2
    turned, still = rotary // 2, half - rotary // 2
    first = [*range(turned), *range(rotary, rotary + still)]
    second = [*range(turned, rotary), *range(rotary + still, config.head_dim)]
    starts = np.arange(heads)[:, None] * config.head_dim
    return (starts + np.array([*first, *second])).reshape(-1)


def _within(config: ModelConfig, name: str, role: str, place: Rows) -> Rows:
    """Rows of q, k, v within qkv_proj, of gate and up within gate_up_proj."""
    q, kv = (
        heads * config.head_dim
        for heads in (config.num_attention_heads, config.num_key_value_heads)
    )
    starts = {
        "q_proj": ("qkv_proj", 0),
        "k_proj": ("qkv_proj", q),
        "v_proj": ("qkv_proj", q + kv),
        "gate_proj": ("gate_up_proj", 0),
        "up_proj": ("gate_up_proj", config.intermediate_size),
    }
    if role not in starts:
        return place
    whole, start = starts[role]
    return Rows(name.replace(role, whole), place.order + start)


def _of_head(config: ModelConfig) -> np.ndarray:
    """float32[head_dim]: the factor's square, for k and q both carry it, where a row is turned."""
    half = config.head_dim // 2
    turned = np.arange(half) < (config.rotary_dim or config.head_dim) // 2
    square = np.where(turned, config.attention_factor**2, 1.0)
    return np.tile(square, 2).astype(np.float32)


def _near(rows: np.ndarray) -> tuple[int, slice]:
    """The first of some stored rows, at least one, and the slice that holds them all."""
    first = int(rows.min())
    return first, slice(first, int(rows.max()) + 1)


def _factor(place: Rows, rows: slice | None, axes: int) -> np.ndarray | None:
    """float32[rows, 1, ...] of the rows asked for, or None."""
    if place.factor is None:
        return None
    return place.factor[rows or slice(None)].reshape(-1, *(1,) * (axes - 1))
