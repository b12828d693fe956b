"""GGUF's header: metadata and the list of tensors, parsed without trusting a single number in it.

Layout (version 2 and 3, little-endian): magic "GGUF", uint32 version, uint64 tensor count, uint64
metadata count; the metadata pairs; the tensor entries; padding to the alignment; tensor data.
Every count is held against the bytes that are left before anything is allocated for it, so the
memory and time of parsing are bounded by the file's size. The gguf package's own reader maps
whatever the counts say, so only its table of block sizes and its dequantizers are used.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.errors import HardcastError
from hardcast.files import check_file

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DIMENSION_LIMIT = 4
DEPTH_LIMIT = 4  # arrays within arrays
COUNT_LIMIT = 1 << 24  # items of any kind; the largest vocabulary in use has a sixtieth of it
# Metadata value types: number -> NumPy type of one value (bool is a byte of 0 or 1).
SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of a GGUF file.

    shape: outermost axis first (out_features, in_features), the reverse of the file's order.
    type_name: the gguf package's name of the type (Q4_1, F32, ...).
    offset, size_bytes: where its data lie in the file.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """metadata: key -> number, bool, text or list of these. tensors: in file order, by name."""

    version: int
    metadata: dict[str, Any]
    tensors: dict[str, TensorEntry]


def read_header(path: Path) -> Header:
    """Parses and checks the header of a GGUF file.

    Raises HardcastError, one line naming the file and the entry, for anything that is not a
    complete little-endian GGUF file of version 2 or 3 whose tensors lie within it.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            if size_bytes == 0:
                raise HardcastError(f"{path}: the file is empty, a GGUF file was expected")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return _parse(_Cursor(path, mapped, size_bytes))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HardcastError(f"{path}: cannot be read: {reason}") from None


class _Cursor:
    """Reads values one after another and refuses to pass the end of the file."""

    def __init__(self, path: Path, data: mmap.mmap, size_bytes: int) -> None:
        self.path = path
        self.data = data
        self.size_bytes = size_bytes
        self.position = 0
        self.what = "the header"

    def error(self, message: str) -> HardcastError:
        return HardcastError(f"{self.path}: {self.what}: {message}")

    def skip(self, count: int) -> int:
        """Moves on by `count` bytes; returns where it was."""
        start = self.position
        if count > self.size_bytes - start:
            raise self.error(
                f"needs {count} bytes at {start}, but the file has {self.size_bytes}: "
                f"it is truncated or damaged, fetch it again"
            )
        self.position = start + count
        return start

    def number(self, code: str) -> int:
        size = struct.calcsize(code)
        return int(struct.unpack_from(code, self.data, self.skip(size))[0])

    def text(self) -> str:
        length = self.number("<Q")
        start = self.skip(length)
        return self.data[start : start + length].decode("utf-8", "replace")

    def count(self, what: str, item_bytes: int) -> int:
        """A uint64 count of items that take at least `item_bytes` each."""
        count = self.number("<Q")
        if count > COUNT_LIMIT or count * item_bytes > self.size_bytes - self.position:
            raise self.error(
                f"{count} {what} cannot be in a file of {self.size_bytes} bytes: "
                f"it is truncated or damaged, fetch it again"
            )
        return count

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == STRING:
            return self.text()
        if kind in SCALARS:
            return self._numbers(kind, 1)[0]
        if kind != ARRAY:
            raise self.error(f"unknown metadata type {kind}; is the file damaged?")
        if depth == DEPTH_LIMIT:
            raise self.error(f"arrays nested deeper than {DEPTH_LIMIT}")
        inner = self.number("<I")
        if inner in SCALARS:
            count = self.count("array values", np.dtype(SCALARS[inner]).itemsize)
            return self._numbers(inner, count)
        # A string takes 8 bytes at least, an array 12.
        count = self.count("array values", 8 if inner == STRING else 12)
        if inner == STRING:
            return [self.text() for _ in range(count)]
        return [self.value(inner, depth + 1) for _ in range(count)]

    def _numbers(self, kind: int, count: int) -> list[Any]:
        dtype = np.dtype(SCALARS[kind])
        start = self.skip(count * dtype.itemsize)
        raw = self.data[start : start + count * dtype.itemsize]
        if kind == 7:
            return [byte != 0 for byte in raw]
        return np.frombuffer(raw, dtype).tolist()


def _parse(cursor: _Cursor) -> Header:
    magic = cursor.data[:4]
    if magic != MAGIC:
        raise cursor.error(f"starts with {magic!r}, not {MAGIC!r}: this is no GGUF file")
    cursor.position = 4
    version = cursor.number("<I")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        if swapped in VERSIONS:
            raise cursor.error("this GGUF file is big-endian; only little-endian is supported")
        raise cursor.error(f"GGUF version {version} is not supported; supported are 2 and 3")
    tensor_count = cursor.count("tensors", 24)
    metadata_count = cursor.count("metadata entries", 13)
    metadata: dict[str, Any] = {}
    for index in range(metadata_count):
        cursor.what = f"metadata entry {index}"
        key = cursor.text()
        cursor.what = f"metadata {key[:80]!r}"
        if key in metadata:
            raise cursor.error("appears twice")
        metadata[key] = cursor.value(cursor.number("<I"))
    entries = [_tensor_entry(cursor, index) for index in range(tensor_count)]
    cursor.what = "metadata 'general.alignment'"
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 20 or alignment % 8:
        raise cursor.error(f"{alignment!r:.40} is no multiple of 8 up to {1 << 20}")
    start = -(-cursor.position // alignment) * alignment
    return Header(version, metadata, _place(cursor, entries, start, alignment))


@dataclass(frozen=True)
class _RawEntry:
    name: str
    shape: tuple[int, ...]
    type_number: int
    offset: int


def _tensor_entry(cursor: _Cursor, index: int) -> _RawEntry:
    cursor.what = f"tensor entry {index}"
    name = cursor.text()
    cursor.what = f"tensor {name[:80]!r}"
    dimensions = cursor.number("<I")
    if not 1 <= dimensions <= DIMENSION_LIMIT:
        raise cursor.error(f"has {dimensions} dimensions, expected 1 to {DIMENSION_LIMIT}")
    shape = tuple(cursor.number("<Q") for _ in range(dimensions))[::-1]
    return _RawEntry(name, shape, cursor.number("<I"), cursor.number("<Q"))


def _place(
    cursor: _Cursor, entries: list[_RawEntry], start: int, alignment: int
) -> dict[str, TensorEntry]:
    """Turns the entries into byte ranges of the file and checks that they lie within it."""
    # Here because importing the package takes 0.3 s, which a packaged name's look-up need not pay.
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    types = {kind.value: kind for kind in GGMLQuantizationType}
    placed: dict[str, TensorEntry] = {}
    for entry in entries:
        cursor.what = f"tensor {entry.name[:80]!r}"
        if entry.name in placed:
            raise cursor.error("appears twice")
        if entry.type_number not in types:
            raise cursor.error(
                f"has type number {entry.type_number}, which the gguf package here does not know; "
                f"upgrade it with: pip install -U gguf"
            )
        kind = types[entry.type_number]
        block_values, block_bytes = GGML_QUANT_SIZES[kind]
        if entry.shape[-1] % block_values:
            raise cursor.error(
                f"has rows of {entry.shape[-1]} values, no multiple of {kind.name}'s block of "
                f"{block_values}"
            )
        blocks = entry.shape[-1] // block_values
        for size in entry.shape[:-1]:
            blocks *= size
        offset, size_bytes = start + entry.offset, blocks * block_bytes
        if entry.offset % alignment:
            raise cursor.error(f"its offset {entry.offset} is no multiple of {alignment}")
        if offset + size_bytes > cursor.size_bytes:
            raise cursor.error(
                f"ends at byte {offset + size_bytes}, past the end of the file at "
                f"{cursor.size_bytes}: it is truncated or damaged, fetch it again"
            )
        placed[entry.name] = TensorEntry(entry.name, entry.shape, kind.name, offset, size_bytes)
    return placed
