"""A matrix as another tool packed it: integer codes in words, scales and minima a group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hardcast.checkpoint.base import Grid, GridForm, check_finite, read_bytes
from hardcast.checkpoint.safetensors_header import Entry
from hardcast.errors import HardcastError

WORD = 32  # bits of a word
TYPES = {
    "I32": "<u4",  # words, whatever their sign
    "U32": "<u4",
    "I64": "<i8",
    "I8": "i1",
    "U8": "u1",
    "F16": "<f2",
    "BF16": "<u2",
    "F32": "<f4",
}
FLOATS = ("F16", "BF16", "F32")
INTEGERS = ("I32", "U32")
Parts = tuple[np.ndarray, np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Packed:
    """A matrix of quantised weights: w = scale * code + minimum of the column's group.

    name: of its weight. shape: (out_features, in_features). bits, group_size, codebook: as of Grid.
    read: rows (a slice or indices) to codes[rows, in_features], scale and minimum [rows, groups].
    group_of: int64[in_features], where a column's group is not index // group_size (act-order).
    rows, columns: the order in which rows and columns are handed on; None as stored.
    """

    name: str
    path: Path
    shape: tuple[int, int]
    bits: int
    group_size: int
    read: Callable[[slice | np.ndarray], Parts]
    codebook: tuple[int, ...] = ()
    group_of: np.ndarray | None = None
    rows: np.ndarray | None = None
    columns: np.ndarray | None = None

    dtype = "packed"

    @property
    def form(self) -> GridForm | None:
        """None where the columns of a group do not lie together."""
        if self.group_of is not None:
            return None
        # One scale a row: a group as long as the row, rounded up as an image wants it.
        size = self.group_size if self.group_size < self.shape[1] else -(-self.shape[1] // 32) * 32
        return GridForm(self.bits, size, self.codebook)

    def grid(self, rows: slice) -> Grid | None:
        """As Checkpoint.grid."""
        if self.form is None:
            return None
        codes, scale, minimum = self._parts(rows)
        return Grid(self.bits, codes, scale, minimum, self.form.group_size, self.codebook)

    def tensor(self, rows: slice) -> np.ndarray:
        """float32[rows, in_features]."""
        codes, scale, minimum = self._parts(rows)
        group_of = self.group_of
        if group_of is None:
            group_of = np.arange(self.shape[1]) // self.group_size
        values = codes.astype(np.float32)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused
            values *= scale[:, group_of]
            if minimum is not None:
                values += minimum[:, group_of]
        check_finite(self.path, self.name, values)
        return values

    def in_order(self) -> tuple[Packed, np.ndarray] | None:
        """The same matrix with the columns of each group together, and which column comes when.

        None if it is so already, or if the groups are not of one size.
        """
        if self.group_of is None:
            return None
        order = np.argsort(self.group_of, kind="stable")
        if (self.group_of[order] != np.arange(self.shape[1]) // self.group_size).any():
            return None
        return replace(self, group_of=None, columns=order), order

    def _parts(self, rows: slice) -> Parts:
        stored = rows if self.rows is None else self.rows[rows]
        codes, scale, minimum = self.read(stored)
        if self.columns is not None:
            codes = codes[:, self.columns]
        for part in (scale, minimum):
            if part is not None:
                check_finite(self.path, f"{self.name} (scales)", part)
        return codes, scale, minimum


def whole(name: str, entry: Entry) -> np.ndarray:
    """A stored tensor of one of TYPES, as it is; floats become float32."""
    data = read_bytes(entry.path, name, entry.offset, entry.size_bytes)
    values = data.view(TYPES[entry.dtype]).reshape(entry.shape)
    if entry.dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if entry.dtype in FLOATS else values


def some_rows(name: str, entry: Entry, rows: slice | np.ndarray) -> np.ndarray:
    """Rows of a stored matrix, read alone where they lie together; otherwise as `whole`."""
    if isinstance(rows, np.ndarray):
        return whole(name, entry)[rows]
    start, stop, _ = rows.indices(entry.shape[0])
    size = entry.size_bytes // max(entry.shape[0], 1)
    count = max(stop - start, 0)
    part = replace(
        entry,
        shape=(count, *entry.shape[1:]),
        offset=entry.offset + start * size,
        size_bytes=count * size,
    )
    return whole(name, part)


def unpack(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """uint32[..., n] of codes one after another, the lowest bits first: uint8[..., count]."""
    stream = np.ascontiguousarray(words, "<u4").view(np.uint8)
    if bits == 8:
        return stream[..., :count]
    if 8 % bits == 0:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        fields = stream[..., None] >> shifts & np.uint8((1 << bits) - 1)
        return fields.reshape(*words.shape[:-1], -1)[..., :count]
    single = np.unpackbits(stream, axis=-1, bitorder="little")
    length = single.shape[-1] // bits
    fields = single[..., : length * bits].reshape(*words.shape[:-1], length, bits)
    weights = (1 << np.arange(bits)).astype(np.uint8)
    return np.asarray(fields @ weights, np.uint8)[..., :count]


def expect(
    module: str, entry: Entry, what: str, shape: tuple[int, ...] | None, dtypes: tuple[str, ...]
) -> Entry:
    """A part of a packed matrix, held against what the others say.

    Raises HardcastError, naming it, for another type or shape (None: any of two dimensions).
    """
    right = len(entry.shape) == 2 if shape is None else entry.shape == shape
    if entry.dtype not in dtypes or not right:
        wanted = "two dimensions" if shape is None else f"shape {list(shape)}"
        raise HardcastError(
            f"{entry.path}: tensor {module}.{what} is {entry.dtype}{list(entry.shape)}, expected "
            f"{' or '.join(dtypes)} of {wanted}; the file is damaged or packed in another way"
        )
    return entry


def group_size_of(module: str, path: Path, columns: int, groups: int, said: object) -> int:
    """Columns that share a scale, from how many groups there are and what the config says.

    Where it says nothing that fits, a power of two goes first: the tools have no other sizes, and
    the last group may be short. Raises HardcastError where nothing goes together.
    """
    if groups == 1:
        return columns
    powers = (1 << exponent for exponent in range(columns.bit_length()))
    for size in (said, *powers):
        if type(size) is int and size > 0 and -(-columns // size) == groups:
            return size
    if groups > 0 and columns % groups == 0:
        return columns // groups
    raise HardcastError(
        f"{path}: {module} has {groups} groups for {columns} columns, which group_size {said!r:.20}"
        f" does not give; the file is damaged or its quantization_config is another model's"
    )
