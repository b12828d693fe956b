"""GGUF's block types: dequantization by the gguf package, and the grids taken exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hardcast.checkpoint.base import Grid, GridForm

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


@dataclass(frozen=True)
class Stored:
    """A type that is an integer grid as it stands. read: uint8[rows, bytes a row] to its Grid."""

    bits: int
    read: Callable[[np.ndarray], Grid]
    codebook: tuple[int, ...] = ()

    @property
    def form(self) -> GridForm:
        """Of every tensor of this type."""
        return GridForm(self.bits, GROUP_SIZE, self.codebook)


def _nibbles(blocks: np.ndarray) -> np.ndarray:
    """uint8[..., 16] to uint8[..., 32]: the low halves are the first 16 values, then the high."""
    return np.concatenate([blocks & 15, blocks >> 4], axis=-1)


def _fives(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """uint8[..., 4], [..., 16] to uint8[..., 32]: a fifth bit for each nibble, in its order."""
    return _nibbles(low) | np.unpackbits(high, axis=-1, bitorder="little") << 4


def _blocks(stored: np.ndarray, block_bytes: int) -> np.ndarray:
    return stored.reshape(stored.shape[0], -1, block_bytes)


def _rows(blocks: np.ndarray) -> np.ndarray:
    """[rows, ...] to [rows, values], in one piece of memory."""
    return np.ascontiguousarray(blocks.reshape(len(blocks), -1))


def _half(blocks: np.ndarray, start: int) -> np.ndarray:
    """float32[rows, groups]: the float16 at byte `start` of every block."""
    raw = np.ascontiguousarray(blocks[..., start : start + 2])
    return raw.view("<f2")[..., 0].astype(np.float32)


def _q4_0(stored: np.ndarray) -> Grid:
    """w = d (q - 8)."""
    blocks = _blocks(stored, 18)
    scale = _half(blocks, 0)
    return Grid(4, _rows(_nibbles(blocks[..., 2:])), scale, np.float32(-8) * scale, GROUP_SIZE)


def _q4_1(stored: np.ndarray) -> Grid:
    """w = d q + m."""
    blocks = _blocks(stored, 20)
    codes = _rows(_nibbles(blocks[..., 4:]))
    return Grid(4, codes, _half(blocks, 0), _half(blocks, 2), GROUP_SIZE)


def _q5_0(stored: np.ndarray) -> Grid:
    """w = d (q - 16)."""
    blocks = _blocks(stored, 22)
    codes = _rows(_fives(blocks[..., 2:6], blocks[..., 6:])).view(np.int8) - np.int8(16)
    return Grid(5, codes, _half(blocks, 0), None, GROUP_SIZE)


def _q5_1(stored: np.ndarray) -> Grid:
    """w = d q + m."""
    blocks = _blocks(stored, 24)
    codes = _rows(_fives(blocks[..., 4:8], blocks[..., 8:]))
    return Grid(5, codes, _half(blocks, 0), _half(blocks, 2), GROUP_SIZE)


def _q8_0(stored: np.ndarray) -> Grid:
    """w = d q, q signed."""
    blocks = _blocks(stored, 34)
    return Grid(8, _rows(blocks[..., 2:]).view(np.int8), _half(blocks, 0), None, GROUP_SIZE)


def _q4_k(stored: np.ndarray) -> Grid:
    """w = d s q - d' m in groups of 32, s and m of 6 bits; d and d' are shared by 256 values."""
    blocks = _blocks(stored, 144)
    scale, minimum = _super_scales(blocks)
    return Grid(4, _rows(_pairs(blocks[..., 16:])), scale, minimum, GROUP_SIZE)


def _q5_k(stored: np.ndarray) -> Grid:
    """As Q4_K, with 32 bytes of fifth bits: bit i of each is for group i."""
    blocks = _blocks(stored, 176)
    scale, minimum = _super_scales(blocks)
    fifth = blocks[..., None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    low = _pairs(blocks[..., 48:]).reshape(fifth.shape)
    return Grid(5, _rows(low | fifth << 4), scale, minimum, GROUP_SIZE)


def _super_scales(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales and minima of Q4_K and Q5_K: float32[rows, groups] each.

    float32 holds d s and d' m exactly: 11 bits times 6.
    """
    from gguf.quants import Q4_K

    packed = np.ascontiguousarray(blocks[..., 4:16]).reshape(-1, 12)
    scale, minimum = (part.reshape(len(blocks), -1, 8) for part in Q4_K.get_scale_min(packed))
    scale = _half(blocks, 0)[..., None] * scale.astype(np.float32)
    minimum = -_half(blocks, 2)[..., None] * minimum.astype(np.float32)
    return _rows(scale), _rows(minimum)


def _pairs(packed: np.ndarray) -> np.ndarray:
    """uint8[rows, blocks, 128] to [rows, blocks, 4, 2, 32]: 32 bytes hold two groups, low first."""
    pairs = packed.reshape(*packed.shape[:2], 4, 1, 32)
    return np.concatenate([pairs & 15, pairs >> 4], axis=3)


def _iq4_nl(stored: np.ndarray) -> Grid:
    """w = d k[q], d of either sign, k no mirror image of itself."""
    blocks = _blocks(stored, 18)
    codes = np.array(IQ4, np.int8)[_rows(_nibbles(blocks[..., 2:]))]
    return Grid(4, codes, _half(blocks, 0), None, GROUP_SIZE, IQ4)


def _iq4_xs(stored: np.ndarray) -> Grid:
    """w = d (s - 32) k[q] in groups of 32, s of 6 bits; d is shared by 256 values."""
    blocks = _blocks(stored, 136)
    low = _spaced(blocks[..., 4:8], 4)
    high = _spaced(blocks[..., 2:4], 2)
    scale = (low | high << 4).astype(np.float32) - np.float32(32)
    nibbles = _nibbles(blocks[..., 8:].reshape(*blocks.shape[:2], 8, 16))
    codes = np.array(IQ4, np.int8)[_rows(nibbles)]
    return Grid(4, codes, _rows(_half(blocks, 0)[..., None] * scale), None, GROUP_SIZE, IQ4)


def _spaced(packed: np.ndarray, bits: int) -> np.ndarray:
    """uint8[..., bytes] to uint8[..., bytes * 8 / bits]: each byte's fields, the lowest first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = packed[..., None] >> shifts & np.uint8((1 << bits) - 1)
    return fields.reshape(*packed.shape[:-1], -1)


def _mxfp4(stored: np.ndarray) -> Grid:
    """w = 2^(e - 128) k[q], k twice the values of a float of 4 bits."""
    blocks = _blocks(stored, 17)
    scale = np.ldexp(np.float32(1), blocks[..., 0].astype(np.int32) - 128)
    codes = np.array(E2M1 + tuple(-k for k in E2M1), np.int8)[_rows(_nibbles(blocks[..., 1:]))]
    return Grid(4, codes, scale, None, GROUP_SIZE, FLOAT4)


E2M1 = (0, 1, 2, 3, 4, 6, 8, 12)  # twice the values of a float of 4 bits, one of a sign
FLOAT4 = (*(-k for k in E2M1[:0:-1]), *E2M1)
IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
GRIDS = {
    "Q4_0": Stored(4, _q4_0),
    "Q4_1": Stored(4, _q4_1),
    "Q4_K": Stored(4, _q4_k),
    "Q5_0": Stored(5, _q5_0),
    "Q5_1": Stored(5, _q5_1),
    "Q5_K": Stored(5, _q5_k),
    "Q8_0": Stored(8, _q8_0),
    "IQ4_NL": Stored(4, _iq4_nl, IQ4),
    "IQ4_XS": Stored(4, _iq4_xs, IQ4),
    "MXFP4": Stored(4, _mxfp4, FLOAT4),
}
