"""GGUF's block types: dequantization by the gguf package, and the grids taken exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hardcast.checkpoint.base import Grid

GROUP_SIZE = 32  # values that share a scale in all of these


@lru_cache(maxsize=64)
def can_dequantize(type_name: str) -> bool:
    """Whether the gguf package turns this type into float32: asked with one block of zeros."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    _, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[type_name]]
    try:
        dequantize(np.zeros((1, block_bytes), np.uint8), type_name)
    except NotImplementedError:
        return False
    return True


def dequantize(stored: np.ndarray, type_name: str) -> np.ndarray:
    """uint8[rows, bytes] (or one vector) of a GGUF type to float32."""
    if type_name == "F32":
        return stored.view("<f4").astype(np.float32, copy=False)
    from gguf import GGMLQuantizationType, quants

    with np.errstate(all="ignore"):  # non-finite scales are named by check_finite afterwards
        values = quants.dequantize(stored, GGMLQuantizationType[type_name])
    return np.ascontiguousarray(values, dtype=np.float32)


def _nibbles(blocks: np.ndarray) -> np.ndarray:
    """uint8[..., 16] to uint8[..., 32]: the low halves are the first 16 values, then the high."""
    return np.concatenate([blocks & 15, blocks >> 4], axis=-1)


def _blocks(stored: np.ndarray, block_bytes: int) -> np.ndarray:
    return stored.reshape(stored.shape[0], -1, block_bytes)


def _half(blocks: np.ndarray, start: int) -> np.ndarray:
    """float32[rows, groups]: the float16 at byte `start` of every block."""
    raw = np.ascontiguousarray(blocks[..., start : start + 2])
    return raw.view("<f2")[..., 0].astype(np.float32)


def _grid_q4_0(stored: np.ndarray) -> Grid:
    """w = d (q - 8)."""
    blocks = _blocks(stored, 18)
    scale = _half(blocks, 0)
    codes = _nibbles(blocks[..., 2:]).reshape(stored.shape[0], -1)
    return Grid(4, codes, scale, np.float32(-8) * scale, GROUP_SIZE)


def _grid_q4_1(stored: np.ndarray) -> Grid:
    """w = d q + m."""
    blocks = _blocks(stored, 20)
    codes = _nibbles(blocks[..., 4:]).reshape(stored.shape[0], -1)
    return Grid(4, codes, _half(blocks, 0), _half(blocks, 2), GROUP_SIZE)


def _grid_q8_0(stored: np.ndarray) -> Grid:
    """w = d q, q signed."""
    blocks = _blocks(stored, 34)
    codes = np.ascontiguousarray(blocks[..., 2:]).view(np.int8).reshape(stored.shape[0], -1)
    return Grid(8, codes, _half(blocks, 0), None, GROUP_SIZE)


def _grid_q4_k(stored: np.ndarray) -> Grid:
    """w = d s q - d' m in groups of 32, s and m of 6 bits; d and d' are shared by 256 values.

    float32 holds d s and d' m exactly: 11 bits times 6.
    """
    from gguf.quants import Q4_K

    rows = stored.shape[0]
    blocks = _blocks(stored, 144)
    packed = np.ascontiguousarray(blocks[..., 4:16]).reshape(-1, 12)
    scale, minimum = (part.reshape(rows, -1, 8) for part in Q4_K.get_scale_min(packed))
    # 32 bytes hold two groups: the low halves are the first.
    pairs = blocks[..., 16:].reshape(rows, -1, 4, 1, 32)
    codes = np.concatenate([pairs & 15, pairs >> 4], axis=3).reshape(rows, -1)
    scale = _half(blocks, 0)[..., None] * scale.astype(np.float32)
    minimum = -_half(blocks, 2)[..., None] * minimum.astype(np.float32)
    return Grid(4, codes, scale.reshape(rows, -1), minimum.reshape(rows, -1), GROUP_SIZE)


GRIDS: dict[str, Callable[[np.ndarray], Grid]] = {
    "Q4_0": _grid_q4_0,
    "Q4_1": _grid_q4_1,
    "Q8_0": _grid_q8_0,
    "Q4_K": _grid_q4_k,
}
"""type -> uint8[rows, bytes a row] to its Grid; these types are integer grids as they stand."""
