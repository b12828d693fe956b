"""Where every weight lies: a matrix as the ROM words of all tiles.

Row position j = ((round * R + slot) * TR + tile row); block g of 64 inputs belongs to slice g mod C
in pass g div C. A round takes, for each plane (high first) and pass, R words a tile: word k has
the codes of R rows for the inputs k * K ... of the block, and above them the scales of row slot k.
"""

from __future__ import annotations

import numpy as np

from hardcast.chip.geometry import Geometry
from hardcast.chip.parameters import BLOCK
from hardcast.image.matrix import Matrix, unpack_codes


def tile_words(
    geometry: Geometry, matrix: Matrix, places: np.ndarray, words: int, group: int, offsets: bool
) -> np.ndarray:
    """uint8[TR, C, words of the matrix, bytes of a word], little-endian.

    places: position of each row (see Geometry.head_rows). words: rows of positions, TR each.
    group: inputs that share a scale field, 32 or 64. offsets: whether words have offset fields.
    Rows and columns beyond the matrix have scale and offset 0, so that they add nothing.
    """
    chip = geometry.chip
    lanes, slices, rows, columns = chip.tile_rows, chip.slices, chip.rows, chip.columns
    rounds, passes = geometry.rounds(words), geometry.passes(matrix.in_features)
    shape = (rounds, rows, lanes, passes, slices)
    height, width = rounds * rows * lanes, passes * slices * BLOCK

    code_bytes = []
    for plane in range(matrix.planes):
        codes = np.zeros((height, width), np.uint8)
        unpacked = unpack_codes(matrix.codes[plane], matrix.bits, matrix.in_features)
        codes[places, : matrix.in_features] = unpacked
        # to [lane, slice, round, pass, step, row, column]
        parted = codes.reshape(*shape, rows, columns).transpose(2, 4, 0, 3, 5, 1, 6)
        flat = parted.reshape(lanes, slices, rounds, passes, rows, rows * columns)
        code_bytes.append(_pack(flat, chip.bits))
    per_block = BLOCK // group
    scales = _spread(matrix, matrix.scales, group, places, height, passes * slices)
    scales = scales.reshape(*shape, per_block).transpose(2, 4, 0, 3, 1, 5)
    fields = [np.ascontiguousarray(scales).astype(np.uint8)]
    zero = np.zeros((*scales.shape[:-1], 2 * per_block), np.uint8)
    low = zero
    if matrix.offsets is not None:
        spread = _spread(matrix, matrix.offsets, group, places, height, passes * slices)
        spread = spread.reshape(*shape, per_block).transpose(2, 4, 0, 3, 1, 5)
        low = np.ascontiguousarray(spread).astype("<i2").view(np.uint8)
    planes = []
    for plane, packed in enumerate(code_bytes):
        parts = [packed, *fields]
        if offsets:  # an offset counts once: with the plane that is not shifted
            parts.append(low if plane == matrix.planes - 1 else zero)
        planes.append(np.concatenate(parts, axis=-1))
    stacked = np.stack(planes, axis=3)  # [lane, slice, round, plane, pass, step, byte]
    return stacked.reshape(lanes, slices, -1, stacked.shape[-1])


def _pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """uint8[..., 64] codes -> uint8[..., 8 * bits], little-endian bit order."""
    groups = codes.reshape(-1, 8, 8).astype(np.uint32)  # eight codes are `bits` bytes
    shifts = np.arange(8, dtype=np.uint32) * np.uint32(bits)
    word = np.bitwise_or.reduce(groups << shifts, axis=-1)
    octets = [(word >> np.uint32(8 * i)).astype(np.uint8) for i in range(bits)]
    return np.stack(octets, axis=-1).reshape(*codes.shape[:-1], 8 * bits)


def _spread(
    matrix: Matrix, values: np.ndarray, group: int, places: np.ndarray, height: int, blocks: int
) -> np.ndarray:
    """Scales or offsets of every `group` inputs at the rows' positions: int32[height, fields].

    0 for inputs beyond the matrix, also where its last group would reach them: a slice may still
    hold another vector's codes there.
    """
    fields = blocks * (BLOCK // group)
    result = np.zeros((height, fields), np.int32)
    first = np.arange(fields) * group
    inside = first < matrix.in_features
    index = first[inside] // matrix.group_size
    result[places[:, None], np.flatnonzero(inside)[None, :]] = values[:, index]
    return result
