"""The one weight form: codes of a small codebook, group scales and offsets, a multiplier a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hardcast.errors import HardcastError

CHUNK_WEIGHTS = 1 << 22
BLOCK_WEIGHTS = 1 << 16  # handled at a time where every pass over them should find them in cache
GROUP_BITS, OFFSET_BITS = 8, 16  # of ROM, a group
ROW_BITS = 24  # multiplier and shift
LEAST_SHIFT, MOST_SHIFT = -16, 40  # of row_shift; with it every shift on the path fits int64


@dataclass(frozen=True)
class Matrix:
    """w[row, i] = row_multiplier * 2^-row_shift * (scale[g] * value[i] + offset[g]), g = i's group.

    bits: B, bits of a code in one plane. planes: 1, or 2 for 2B-bit weights (high plane first).
    codebook: int16[2^B], the value of a code of the (high) plane; value = codebook[code], or
    codebook[high] * 2^B + low with two planes; always within int8.
    codes: uint8[planes, out_features, ceil(in_features * B / 8)], little-endian bit order.
    scales: uint8[out_features, groups]; offsets: int16[out_features, groups] or None (all zero).
    groups = ceil(in_features / group_size), the last one may be short.
    row_multiplier: uint8[out_features] in 128..255; row_shift: int16[out_features] in -16..40.
    """

    name: str
    out_features: int
    in_features: int
    bits: int
    planes: int
    group_size: int
    codebook: np.ndarray
    codes: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray | None
    row_multiplier: np.ndarray
    row_shift: np.ndarray

    @property
    def groups(self) -> int:
        """Groups in a row; the last one may be short."""
        return -(-self.in_features // self.group_size)

    @property
    def rom_bits(self) -> int:
        """Bits of mask ROM: codes, scales (8), offsets (16), row multiplier and shift (24)."""
        group_bits = GROUP_BITS + (OFFSET_BITS if self.offsets is not None else 0)
        weights = self.out_features * self.in_features * self.bits * self.planes
        return weights + self.out_features * (self.groups * group_bits + ROW_BITS)

    def values(self) -> np.ndarray:
        """int8[out_features, in_features]: codebook and planes resolved."""
        if self.planes == 1:
            return _look_up(self.codes[0], self.bits, self.in_features, self.codebook)
        high = _look_up(self.codes[0], self.bits, self.in_features, self.codebook << self.bits)
        low = np.arange(1 << self.bits)
        return high + _look_up(self.codes[1], self.bits, self.in_features, low)

    def integers(self) -> np.ndarray:
        """int32[out_features, in_features]: scale * value + offset."""
        values = self.values()
        result = np.empty(values.shape, np.int32)
        for rows in row_blocks(values.shape):
            result[rows] = values[rows]
            _each_group(np.multiply, result[rows], self.scales[rows], self.group_size)
            if self.offsets is not None:
                _each_group(np.add, result[rows], self.offsets[rows], self.group_size)
        return result

    def chunks(self) -> Iterator[Matrix]:
        """The matrix in pieces of a few million weights, so that int32 copies stay small."""
        step = max(CHUNK_WEIGHTS // max(self.in_features, 1), 1)
        for first in range(0, self.out_features, step):
            yield self.select(slice(first, first + step))

    def sum_bits(self) -> int:
        """Bit length of the largest sum of |integers| over a row: what an accumulator needs."""
        # A sum is below in_features * 2^16: int32 holds that of all but the widest rows.
        dtype = np.int32 if self.in_features < 1 << 15 else np.int64
        largest = 0
        for part in self.chunks():
            weights = part.integers()
            sums = np.abs(weights, out=weights).sum(axis=1, dtype=dtype)
            largest = max(largest, int(sums.max(initial=0)))
        return largest.bit_length()

    def select(self, rows: slice | np.ndarray) -> Matrix:
        """The same matrix with only `rows` (a slice or an index array)."""
        return Matrix(
            self.name,
            len(self.row_shift[rows]),
            self.in_features,
            self.bits,
            self.planes,
            self.group_size,
            self.codebook,
            self.codes[:, rows],
            self.scales[rows],
            None if self.offsets is None else self.offsets[rows],
            self.row_multiplier[rows],
            self.row_shift[rows],
        )

    def check(self) -> None:
        """Raises HardcastError, naming the matrix, if the arrays don't fit the form above."""
        if self.bits not in (2, 3, 4) or self.planes not in (1, 2):
            raise HardcastError(
                f"{self.name}: {self.planes} planes of {self.bits} bits unsupported"
            )
        if self.group_size <= 0 or self.group_size % 32:
            raise HardcastError(f"{self.name}: group_size {self.group_size} is no multiple of 32")
        if self.out_features < 1 or self.in_features < 1:
            raise HardcastError(f"{self.name}: has no rows or no columns")
        packed = -(-self.in_features * self.bits // 8)
        rows = (self.out_features, self.groups)
        expected = {
            "codebook": (self.codebook, np.int16, (1 << self.bits,)),
            "codes": (self.codes, np.uint8, (self.planes, self.out_features, packed)),
            "scales": (self.scales, np.uint8, rows),
            "row_multiplier": (self.row_multiplier, np.uint8, rows[:1]),
            "row_shift": (self.row_shift, np.int16, rows[:1]),
        }
        if self.offsets is not None:
            expected["offsets"] = (self.offsets, np.int16, rows)
        for what, (array, dtype, shape) in expected.items():
            if array.dtype != dtype or array.shape != shape:
                found = f"{array.dtype}{list(array.shape)}"
                raise HardcastError(
                    f"{self.name}: {what} is {found}, expected {np.dtype(dtype)}{list(shape)}"
                )
        if self.row_shift.min() < LEAST_SHIFT or self.row_shift.max() > MOST_SHIFT:
            raise HardcastError(f"{self.name}: row_shift is outside {LEAST_SHIFT}..{MOST_SHIFT}")
        if self.row_multiplier.min() < 128:
            raise HardcastError(f"{self.name}: row_multiplier is outside 128..255")
        reach = (1 << self.bits) if self.planes == 2 else 1
        lowest = int(self.codebook.min()) * reach
        highest = int(self.codebook.max()) * reach + reach - 1
        if lowest < -128 or highest > 127:
            raise HardcastError(f"{self.name}: codebook values {lowest}..{highest} exceed int8")


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of a matrix of `shape`, each few enough to stay in a CPU's cache."""
    rows, columns = shape
    step = max(BLOCK_WEIGHTS // max(columns, 1), 1)
    for first in range(0, rows, step):
        yield slice(first, first + step)


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """uint8[..., n] codes below 2^bits -> uint8[..., ceil(n * bits / 8)], little-endian bits."""
    rows = codes.reshape(-1, codes.shape[-1])
    packed = np.empty((len(rows), -(-rows.shape[1] // 8), bits), np.uint8)
    spare = 8 - bits  # zeros above each code in its byte
    for block in row_blocks(rows.shape):
        eights = np.zeros((*packed[block].shape[:2], 8), np.uint8)
        eights.reshape(len(eights), -1)[:, : rows.shape[1]] = rows[block]
        word = eights.view("<u8")  # neighbours close up: pairs, fours, then all eight
        word = (word | word >> spare) & np.uint64(0x0001000100010001 * ((1 << 2 * bits) - 1))
        word = (word | word >> 2 * spare) & np.uint64(0x0000000100000001 * ((1 << 4 * bits) - 1))
        word = (word | word >> 4 * spare).astype("<u8", copy=False)
        for byte in range(bits):
            packed[block, :, byte] = word.view(np.uint8)[:, :, byte]
    whole = packed.reshape(len(rows), -1)[:, : -(-rows.shape[1] * bits // 8)]
    return np.ascontiguousarray(whole).reshape(*codes.shape[:-1], -1)


def unpack_codes(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The inverse of pack_codes for `count` codes: uint8[..., count]."""
    return _look_up(packed, bits, count, np.arange(1 << bits)).view(np.uint8)


def _look_up(packed: np.ndarray, bits: int, count: int, values: np.ndarray) -> np.ndarray:
    """int8[..., count]: values[code] of the first `count` packed codes, a byte or more at a time.

    packed: uint8[..., bytes] as of pack_codes; bits: 2, 3 or 4; values: integers[2^bits].
    """
    index_bits = 12 if bits == 3 else 8  # of a look-up, which finds several values at once
    together = index_bits // bits
    codes = np.arange(1 << index_bits)[:, None] >> np.arange(0, index_bits, bits)
    found = values.astype(np.int8)[codes & ((1 << bits) - 1)]
    table = np.ascontiguousarray(found).view(f"u{together}")[:, 0]

    rows = packed.reshape(-1, packed.shape[-1])
    padding = -rows.shape[1] % bits if bits == 3 else 0
    words = (rows.shape[1] + padding) * 8 // index_bits
    result = np.empty((len(rows), words), table.dtype)
    for block in row_blocks((len(rows), words * together)):
        content = np.pad(rows[block], ((0, 0), (0, padding))) if padding else rows[block]
        if bits == 3:  # three bytes are two indices
            index = content[:, 0::3].astype(np.intp)
            index |= content[:, 1::3].astype(np.intp) << 8
            index |= content[:, 2::3].astype(np.intp) << 16
            result[block, 0::2] = table[index & 0xFFF]
            result[block, 1::2] = table[index >> 12]
        else:
            result[block] = table[content]
    return result.view(np.int8)[:, :count].reshape(*packed.shape[:-1], count)


def _each_group(
    operation: np.ufunc, rows: np.ndarray, operand: np.ndarray, group_size: int
) -> None:
    """rows = operation(rows, operand of the group), in place.

    rows: int32[rows, columns]; operand: integers[rows, groups], the last group may be short.
    """
    operand = operand.astype(np.int32)
    if rows.shape[1] % group_size:
        spread = np.repeat(operand, group_size, axis=1)[:, : rows.shape[1]]
        operation(rows, spread, out=rows)
    else:
        grouped = rows.reshape(*operand.shape, group_size)
        operation(grouped, operand[:, :, None], out=grouped)


def stack_rows(parts: list[Matrix]) -> Matrix:
    """One matrix from consecutive row ranges of it, which share everything but their rows."""
    first = parts[0]
    rows = {
        which: np.concatenate([getattr(part, which) for part in parts])
        for which in ("scales", "row_multiplier", "row_shift")
    }
    offsets = None
    if first.offsets is not None:
        offsets = np.concatenate([part.offsets for part in parts if part.offsets is not None])
    fields = {
        **first.__dict__,
        **rows,
        "out_features": len(rows["row_shift"]),
        "codes": np.concatenate([part.codes for part in parts], axis=1),
        "offsets": offsets,
    }
    return Matrix(**fields)
