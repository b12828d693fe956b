"""Tiny models quantised as other tools pack them: GPTQ, AWQ, MLX, compressed-tensors.

Codes, zeros and scales are drawn, not searched: the weights are what these stand for. The packing
follows the tools' own pack functions, one code at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny

Tensors = dict[str, np.ndarray]


@dataclass
class Drawn:
    """A matrix on a grid. codes: int64[out, in]; scales, zeros: [out, groups].

    group_of: int64[in]. Its weights: (code - zero) * scale, or with a minimum code * scale + it.
    """

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    bits: int
    group_of: np.ndarray
    minima: np.ndarray | None = field(default=None)

    @property
    def weights(self) -> np.ndarray:
        """float32[out, in], exact: what a tool's float32 forward would take."""
        scale = self.scales[:, self.group_of]
        if self.minima is not None:
            return (self.codes * scale + self.minima[:, self.group_of]).astype(np.float32)
        return ((self.codes - self.zeros[:, self.group_of]) * scale).astype(np.float32)


def draw(
    rng: np.random.Generator,
    shape: tuple[int, int],
    bits: int,
    group: int,
    symmetric: bool = False,
    act_order: bool = False,
) -> Drawn:
    """A matrix whose rows multiply a vector's length by about 1; scales are float16's."""
    rows, columns = shape
    groups, top = -(-columns // group), (1 << bits) - 1
    codes = np.clip(np.rint(rng.normal(top / 2, top / 6, shape)), 0, top).astype(np.int64)
    scales = (0.5 + rng.random((rows, groups))) * 6 / top / np.sqrt(columns)
    middle = 1 << bits - 1
    spread = max(middle // 4, 1)
    zeros = np.full(scales.shape, middle)
    if not symmetric:
        zeros = rng.integers(middle - spread, middle + spread + 1, scales.shape)
    group_of = np.arange(columns) // group
    if act_order:
        group_of = rng.permutation(group_of)
    return Drawn(codes, scales.astype(np.float16).astype(np.float64), zeros, bits, group_of)


def stream(codes: np.ndarray, bits: int) -> np.ndarray:
    """[..., n] codes one after another in words, lowest bits first: uint32[..., n * bits / 32]."""
    single = codes[..., None] >> np.arange(bits) & 1
    single = single.reshape(*codes.shape[:-1], -1)
    single = np.pad(single, [(0, 0)] * (codes.ndim - 1) + [(0, -single.shape[-1] % 32)])
    words = single.reshape(*codes.shape[:-1], -1, 32).astype(np.uint64)
    return (words << np.arange(32, dtype=np.uint64)).sum(axis=-1).astype(np.uint32)


def gptq(module: str, drawn: Drawn, v2: bool = False, g_idx: bool = True) -> Tensors:
    """Words along the inputs; zeros one too low but for the second format."""
    zeros = drawn.zeros.T - (0 if v2 else 1)
    found = {
        f"{module}.qweight": stream(drawn.codes, drawn.bits).T.copy().view(np.int32),
        f"{module}.qzeros": stream(zeros, drawn.bits).view(np.int32),
        f"{module}.scales": np.ascontiguousarray(drawn.scales.T),
    }
    if g_idx:
        found[f"{module}.g_idx"] = drawn.group_of.astype(np.int32)
    return found


def awq(module: str, drawn: Drawn) -> Tensors:
    """Eight rows a word, in the order 0 2 4 6 1 3 5 7."""

    def words(codes: np.ndarray) -> np.ndarray:
        eights = codes.reshape(len(codes), -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
        return stream(eights.reshape(len(codes), -1), 4).view(np.int32)

    return {
        f"{module}.qweight": words(drawn.codes.T),
        f"{module}.qzeros": words(drawn.zeros.T),
        f"{module}.scales": np.ascontiguousarray(drawn.scales.T),
    }


def mlx(module: str, drawn: Drawn) -> Tensors:
    """Scales of either sign, and a bias a group."""
    sign = np.where(np.arange(drawn.scales.size).reshape(drawn.scales.shape) % 3 == 0, -1, 1)
    drawn.scales = drawn.scales * sign
    drawn.minima = (-drawn.zeros * drawn.scales).astype(np.float16).astype(np.float64)
    return {
        f"{module}.weight": stream(drawn.codes, drawn.bits),
        f"{module}.scales": drawn.scales,
        f"{module}.biases": drawn.minima,
    }


def compressed(module: str, drawn: Drawn, symmetric: bool = False) -> Tensors:
    """Codes and zeros with half of their range added; the zeros' words go along the rows."""
    found = {
        f"{module}.weight_packed": stream(drawn.codes, drawn.bits).view(np.int32),
        f"{module}.weight_scale": drawn.scales,
        f"{module}.weight_shape": np.array(drawn.codes.shape, np.int64),
    }
    if not symmetric:
        zeros = stream(drawn.zeros.T, drawn.bits).T.copy().view(np.int32)
        found[f"{module}.weight_zero_point"] = zeros
    return found


def int8(module: str, drawn: Drawn) -> Tensors:
    """Signed codes, a scale a row."""
    return {
        f"{module}.weight": (drawn.codes - 128).astype(np.int8),
        f"{module}.weight_scale": drawn.scales,
    }


def write(
    folder: Path,
    pack: Callable[[str, Drawn], Tensors],
    said: dict[str, Any],
    *,
    architecture: str = "qwen2",
    bits: int = 4,
    group: int = 32,
    symmetric: bool = False,
    act_order: tuple[str, ...] = (),
    embedding: bool = False,
    more: Tensors | None = None,
    sizes: dict[str, int] | None = None,
) -> dict[str, Drawn]:
    """Writes a tiny model with every matrix of its layers packed; returns these by module.

    said: keys of config.json. act_order: roles whose groups lie apart. embedding: packed as well.
    more: tensors that replace or join the others; float64 and float32 are stored as float16.
    sizes: keys that replace those of tiny.GROUPED.
    """
    shape = {**tiny.GROUPED, **(sizes or {})}
    plain = tiny.tensors(architecture, **shape)
    rng, drawn, stored = np.random.default_rng(bits * 100 + group), {}, dict[str, np.ndarray]()
    for name, array in plain.items():
        module = name.removesuffix(".weight")
        if array.ndim == 1 or (".layers." not in name and not embedding):
            stored[name] = array.astype(np.float16)
            continue
        size = group if group > 0 else array.shape[1]
        moved = module.rpartition(".")[2] in act_order
        drawn[module] = draw(rng, array.shape, bits, size, symmetric, moved)
        if ".layers." not in name:
            drawn[module].scales *= 4
        stored |= pack(module, drawn[module])
    tiny.write_safetensors(folder, architecture, **shape, **said)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": "float16"}))
    tiny.save_safetensors(folder / "model.safetensors", {**stored, **(more or {})}, "F16")
    return drawn
