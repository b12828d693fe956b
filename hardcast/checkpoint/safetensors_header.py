"""The header of one safetensors file, parsed without trusting it.

Layout: uint64 length of the header; the header, JSON of name -> {dtype, shape, data_offsets}; the
data. It is parsed here because NumPy has no bfloat16 and because every number in it is held
against the file's size before it is used. What safetensors refuses is refused: the tensors cover
the data once, without a gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardcast.checkpoint.base import json_object
from hardcast.errors import HardcastError
from hardcast.files import check_file

HEADER_LIMIT_BYTES = 100_000_000  # the format's own limit
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
INTEGER_BYTES = {"I64": 8, "I32": 4, "U32": 4, "I8": 1, "U8": 1}  # of packed weights
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
    """Parses and checks one file's header.

    Raises HardcastError, one line, for a file that is cut short, is no regular one or has a header
    that is damaged: every tensor lies within the file, and no byte of the data is no tensor's or
    two tensors'.
    """
    check_file(path)
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
            header = json_object(file.read(length), f"{path} (header)", repeats=False)
    except OSError as error:
        raise HardcastError(f"{path}: cannot be read: {error.strerror}") from None
    header.pop("__metadata__", None)
    start = 8 + length
    entries = {name: _entry(path, name, value, start, size_bytes) for name, value in header.items()}
    _check_cover(path, entries, start, size_bytes)
    return entries


def _check_cover(path: Path, entries: dict[str, Entry], start: int, file_bytes: int) -> None:
    """Raises HardcastError unless the tensors cover the bytes from `start` to the end, once."""
    mend = "the file is damaged, fetch or save it again"
    end, last = start, "the header"
    for name, entry in sorted(entries.items(), key=lambda e: (e[1].offset, e[1].size_bytes)):
        where = f"{path}: tensor {name[:80]!r}"
        if entry.offset < end:
            raise HardcastError(
                f"{where}: begins at byte {entry.offset}, within {last}, which ends at {end}; "
                f"{mend}"
            )
        if entry.offset > end:
            raise HardcastError(
                f"{where}: begins at byte {entry.offset}, but {last} ends at {end}: the bytes "
                f"between are no tensor's; {mend}"
            )
        end, last = entry.offset + entry.size_bytes, f"tensor {name[:80]!r}"
    if end != file_bytes:
        raise HardcastError(
            f"{path}: {file_bytes - end} bytes after {last} are no tensor's; {mend}"
        )


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
    if begin > end:
        raise HardcastError(f"{where}: ends at byte {end} of the data, before it begins at {begin}")
    if end > file_bytes - start:
        raise HardcastError(
            f"{where}: ends at byte {start + end}, past the end of the file at {file_bytes}: "
            f"it is truncated or damaged, fetch it again"
        )
    if not isinstance(dtype, str):
        raise HardcastError(f"{where}: its dtype {dtype!r:.40} is no name")
    size = (ITEM_BYTES | INTEGER_BYTES).get(dtype)
    if size is not None and size * math.prod(shape) != end - begin:
        raise HardcastError(f"{where}: {end - begin} bytes for {dtype} of shape {list(shape)}")
    return Entry(path, dtype[:20], shape, start + begin, end - begin)
