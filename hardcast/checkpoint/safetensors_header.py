"""The header of one safetensors file, parsed without trusting it.

Layout: uint64 length of the header; the header, JSON of name -> {dtype, shape, data_offsets}; the
data. It is parsed here because NumPy has no bfloat16 and because every number in it is held
against the file's size before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardcast.checkpoint.base import json_object
from hardcast.errors import HardcastError

HEADER_LIMIT_BYTES = 100_000_000  # the format's own limit
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Entry:
    """Where a tensor's data lie. shape: as stored, outermost first. dtype: the format's name."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


def read_header(path: Path) -> dict[str, Entry]:
    """Parses and checks one file's header; every tensor lies within the file."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(len(POINTER))
            if first == POINTER:
                raise HardcastError(
                    f"{path}: a pointer of git-lfs instead of the file; fetch it: git lfs pull"
                )
            length = int.from_bytes(first[:8], "little")
            file.seek(8)
            if size_bytes < 8 or length > min(size_bytes - 8, HEADER_LIMIT_BYTES):
                raise HardcastError(
                    f"{path}: a header of {length} bytes cannot be in a file of {size_bytes}: "
                    f"it is truncated or no safetensors file"
                )
            header = json_object(file.read(length), f"{path} (header)")
    except OSError as error:
        raise HardcastError(f"{path}: cannot be read: {error.strerror}") from None
    header.pop("__metadata__", None)
    start = 8 + length
    return {name: _entry(path, name, value, start, size_bytes) for name, value in header.items()}


def _entry(path: Path, name: str, value: Any, start: int, file_bytes: int) -> Entry:
    where = f"{path}: tensor {name[:80]!r}"
    try:
        dtype, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise HardcastError(f"{where}: its header entry is malformed") from None
    sizes = (*shape[:8], begin, end)
    if len(shape) > 8 or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in sizes
    ):
        raise HardcastError(f"{where}: its shape or offsets are no whole numbers")
    if not begin <= end <= file_bytes - start:
        raise HardcastError(
            f"{where}: ends at byte {start + end}, past the end of the file at {file_bytes}: "
            f"it is truncated or damaged, fetch it again"
        )
    size_bytes = ITEM_BYTES.get(dtype, 0) if isinstance(dtype, str) else 0
    for size in shape:
        size_bytes *= size
    if size_bytes and size_bytes != end - begin:
        raise HardcastError(f"{where}: {end - begin} bytes for {dtype} of shape {list(shape)}")
    return Entry(path, str(dtype)[:20], shape, start + begin, end - begin)
