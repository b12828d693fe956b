"""The one weight form: codes of a small codebook, group scales and offsets, a multiplier a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hardcast.errors import HardcastError

CHUNK_WEIGHTS = 1 << 22
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
        group_bits = 8 + (16 if self.offsets is not None else 0)
        weights = self.out_features * self.in_features * self.bits * self.planes
        return weights + self.out_features * (self.groups * group_bits + 24)

    def values(self) -> np.ndarray:
        """int8[out_features, in_features]: codebook and planes resolved."""
        code = unpack_codes(self.codes[0], self.bits, self.in_features)
        value = self.codebook.astype(np.int16)[code]
        if self.planes == 2:
            value = (value << self.bits) + unpack_codes(self.codes[1], self.bits, self.in_features)
        return value.astype(np.int8)

    def integers(self) -> np.ndarray:
        """int32[out_features, in_features]: scale * value + offset."""
        result = self.values().astype(np.int32)
        width = self.group_size
        for group in range(self.groups):
            columns = slice(group * width, (group + 1) * width)
            result[:, columns] *= self.scales[:, group, None]
            if self.offsets is not None:
                result[:, columns] += self.offsets[:, group, None]
        return result

    def chunks(self) -> Iterator[Matrix]:
        """The matrix in pieces of a few million weights, so that int32 copies stay small."""
        step = max(CHUNK_WEIGHTS // max(self.in_features, 1), 1)
        for first in range(0, self.out_features, step):
            yield self.select(slice(first, first + step))

    def sum_bits(self) -> int:
        """Bit length of the largest sum of |integers| over a row: what an accumulator needs."""
        sums = (np.abs(part.integers()).sum(axis=1, dtype=np.int64) for part in self.chunks())
        return int(max(int(s.max(initial=0)) for s in sums)).bit_length()

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


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """uint8[..., n] codes below 2^bits -> uint8[..., ceil(n * bits / 8)], little-endian bits."""
    if bits == 4:  # the common case, without spreading to single bits
        even = codes[..., 0::2].copy()
        odd = codes[..., 1::2]
        even[..., : odd.shape[-1]] |= odd << 4
        return even
    spread = (codes[..., None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(spread.reshape(*codes.shape[:-1], -1), axis=-1, bitorder="little")


def unpack_codes(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The inverse of pack_codes for `count` codes: uint8[..., count]."""
    if bits == 4:
        pairs = np.stack([packed & 15, packed >> 4], axis=-1)
        return pairs.reshape(*packed.shape[:-1], -1)[..., :count]
    spread = np.unpackbits(packed, axis=-1, count=count * bits, bitorder="little")
    spread = spread.reshape(*packed.shape[:-1], count, bits)
    return (spread << np.arange(bits, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)


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
