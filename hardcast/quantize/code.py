"""How one matrix is coded: bits, planes, group size, and the values that a code can stand for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardcast.errors import HardcastError
from hardcast.image.matrix import GROUP_BITS, OFFSET_BITS, ROW_BITS, Matrix, pack_codes

KINDS = ("symmetric", "asymmetric", "codebook")


@dataclass(frozen=True)
class Code:
    """The form of a matrix, before its weights are known.

    kind: "symmetric" (values -2^(b-1)..2^(b-1)-1, no offset; b = bits * planes), "asymmetric"
    (values 0..2^b-1 and an offset a group) or "codebook" (the values given, no offset).
    bits: of one plane, 2..4. planes: 1, or 2 for b = 2 * bits.
    group_size: inputs that share a scale; 0 for a whole row.
    codebook: ascending integers within int8, at most 2^bits; one plane only.
    Raises HardcastError for a combination that the chip does not have.
    """

    kind: str
    bits: int
    planes: int = 1
    group_size: int = 64
    codebook: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            known = ", ".join(KINDS)
            raise HardcastError(f"code {self.kind!r:.60} is not known; there are: {known}")
        if self.bits not in (2, 3, 4) or self.planes not in (1, 2):
            raise HardcastError(
                f"{self.planes} planes of {self.bits} bits: a chip has 1 or 2 of 2 to 4 bits"
            )
        if self.group_size < 0 or self.group_size % 32:
            raise HardcastError(f"group_size {self.group_size} is no multiple of 32 (0: a row)")
        if self.kind == "asymmetric" and self.planes == 2:
            raise HardcastError("an asymmetric code has one plane")
        if self.kind == "codebook":
            self._check_codebook()
        elif self.codebook:
            raise HardcastError(f"{self.kind} codes have no codebook of their own")

    def _check_codebook(self) -> None:
        book = self.codebook
        if self.planes == 2:
            raise HardcastError("a codebook has one plane: two planes are evenly spaced")
        if not 2 <= len(book) <= 1 << self.bits:
            raise HardcastError(f"a codebook of {self.bits} bits has 2 to {1 << self.bits} values")
        ascending = all(a < b for a, b in zip(book[:-1], book[1:], strict=True))
        if not ascending or book[0] < -128 or book[-1] > 127 or book[0] >= 0 or book[-1] <= 0:
            raise HardcastError(
                f"codebook {list(book)}: expected ascending integers in -128..127 on both "
                "sides of 0"
            )

    def rom_bits(self, shape: tuple[int, int]) -> int:
        """Mask ROM bits of a matrix (out_features, in_features): what Matrix.rom_bits will say."""
        rows, columns = shape
        groups = -(-columns // self.group(columns))
        group_bits = GROUP_BITS + (OFFSET_BITS if self.kind == "asymmetric" else 0)
        return rows * (columns * self.bits * self.planes + groups * group_bits + ROW_BITS)

    @cached_property
    def values(self) -> np.ndarray:
        """float32[n], ascending: what a code can stand for."""
        if self.kind == "codebook":
            return np.array(self.codebook, np.float32)
        count = 1 << self.bits * self.planes
        first = 0 if self.kind == "asymmetric" else -count // 2
        return np.arange(first, first + count, dtype=np.float32)

    @property
    def reach(self) -> float:
        """The magnitude that both ends have: a group's largest weight over it is its scale."""
        return float(min(-self.values[0], self.values[-1]))

    def group(self, in_features: int) -> int:
        """group_size, or for one scale a row the row's length, rounded up as an image wants it."""
        return self.group_size or -(-in_features // 32) * 32

    @cached_property
    def _halves(self) -> np.ndarray | None:
        """float32[2 * largest + 1]: the value nearest to i / 2 and what follows it, for i = 0 ...

        None if the values are not the same on both sides of 0, or 0 is one of them.
        """
        upper = self.values[len(self.values) // 2 :]
        if self.kind != "codebook" or not np.array_equal(self.values, [*-upper[::-1], *upper]):
            return None
        return _climb(np.arange(2 * int(upper[-1]) + 1, dtype=np.float32) / 2, upper)

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """The nearest value to each element of float32 x, as float32.

        Ties go to the even value of an evenly spaced code, to the larger value or away from 0 in
        a codebook.
        """
        values = self.values
        if self.kind != "codebook":
            result = np.rint(x)
            np.maximum(result, values[0], out=result)
            return np.minimum(result, values[-1], out=result)
        if self._halves is None:
            return _climb(x, values)
        size = np.abs(x)
        size *= 2  # exact; where one value ends and the next begins is now a whole number
        np.minimum(size, len(self._halves) - 1, out=size)
        return np.copysign(self._halves.take(size.astype(np.intp)), x)

    def matrix(
        self,
        name: str,
        values: np.ndarray,
        scales: np.ndarray,
        offsets: np.ndarray | None,
        row_multiplier: np.ndarray,
        row_shift: np.ndarray,
    ) -> Matrix:
        """The chip's form of a matrix of values (int8 or float[out, in], each one of `values`)."""
        codebook, codes = self._encode(np.asarray(values).astype(np.int16))
        return Matrix(
            name,
            out_features=values.shape[0],
            in_features=values.shape[1],
            bits=self.bits,
            planes=self.planes,
            group_size=self.group(values.shape[1]),
            codebook=codebook,
            codes=codes,
            scales=scales,
            offsets=offsets,
            row_multiplier=row_multiplier,
            row_shift=row_shift,
        )

    def _encode(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(codebook int16[2^bits], packed codes uint8[planes, out, bytes]) of int16 values."""
        size = 1 << self.bits
        if self.kind == "codebook":
            book = np.array([*self.codebook, *[self.codebook[-1]] * (size - len(self.codebook))])
            table = np.zeros(256, np.uint8)
            for index, value in enumerate(self.codebook):
                table[value & 255] = index
            return book.astype(np.int16), pack_codes(table[values & 255], self.bits)[None]
        first = int(self.values[0])
        code = (values - first).astype(np.uint8)
        if self.planes == 1:
            book = np.arange(first, first + size, dtype=np.int16)
            return book, pack_codes(code, self.bits)[None]
        book = np.arange(-size // 2, size // 2, dtype=np.int16)
        planes = (code >> self.bits, code & (size - 1))
        return book, np.stack([pack_codes(plane, self.bits) for plane in planes])


def _climb(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The nearest of a few ascending values, by one comparison for each step between two."""
    result = np.full_like(x, values[0])
    for low, high in zip(values[:-1], values[1:], strict=True):
        result += (x >= (low + high) / 2) * (high - low)
    return result
