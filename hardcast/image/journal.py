"""The journal of a build that may be interrupted: what the next one need not do again.

`.NAME.partial.journal` lies beside the image to be. Its first line is the build's key; each further
line is written, and made durable, after the bytes that it speaks of. It is the lock as well: while
a build has it open, no other build of the same image begins.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from hardcast.errors import HardcastError
from hardcast.image.layout import ALIGNMENT, FORMAT
from hardcast.image.stored import read_tensor, sha256_of, size_bytes


class Journal:
    """An open and locked journal file.

    A record is {"tensors": {name: entry}, "matrices": {name: entry}}, entries as in the manifest.
    Raises HardcastError if another build holds the lock.
    """

    def __init__(self, path: Path, image: Path) -> None:
        self.path = path
        self._file = _open_locked(path, image)

    def read(self, key: str, rom: Path) -> list[dict[str, Any]]:
        """The records whose bytes are in `rom`, whole and unaltered, up to the first that is not.

        Cuts the journal after them. A journal of another key holds none.
        """
        head = _line({"key": key, "format": FORMAT})
        lines = self.path.read_bytes().splitlines(keepends=True)
        records: list[dict[str, Any]] = []
        length = position = 0
        if lines[:1] == [head]:
            length = len(head)
            for line in lines[1:]:
                record = _record(line, rom, position)
                if record is None:
                    break
                records.append(record)
                position = end_of(record)
                length += len(line)
        self._file.truncate(length)
        self._file.seek(length)
        if not length:
            self._write(head)
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Writes one record down durably; the bytes that it speaks of must be durable already."""
        self._write(_line(record))

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, remove: bool) -> None:
        """Gives the lock back; remove: the file is needed no more."""
        if remove:  # before the lock is given back: afterwards it might be another build's
            self.path.unlink(missing_ok=True)
        try:
            self._file.close()
        except OSError:
            pass  # a full disk, which was reported when the line was written


def end_of(record: dict[str, Any]) -> int:
    """Bytes of rom.bin up to the end of a record's last tensor."""
    return max(entry["offset"] + size_bytes(entry) for entry in record["tensors"].values())


def _line(record: dict[str, Any]) -> bytes:
    """A record under its own hash, so that a line cut short or filled with zeros is no record."""
    text = json.dumps(record).encode()
    return hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n"


def _open_locked(path: Path, image: Path) -> Any:
    while True:
        file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The build that held the lock may have removed the file since it was opened here.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise HardcastError(
                f"{image}: another build is writing it; wait for that or choose another -o"
            ) from None
        except FileNotFoundError:
            pass  # removed between the two questions
        except BaseException:
            file.close()
            raise
        file.close()


def _record(line: bytes, rom: Path, position: int) -> dict[str, Any] | None:
    """The record of a line, if it is whole and its bytes follow `position` and have their hash."""
    try:
        record: dict[str, Any] = json.loads(line[65:])
        if line != _line(record):
            return None
        for entry in record["tensors"].values():
            if entry["offset"] != position + -position % ALIGNMENT:
                return None
            if _filled(rom, position, entry["offset"]):  # no hash speaks of what lies between
                return None
            if sha256_of(read_tensor(rom, entry, mapped=True)) != entry["sha256"]:
                return None
            position = entry["offset"] + size_bytes(entry)
    except (OSError, ValueError):  # no JSON, or the ROM is shorter than the entry says
        return None
    return record


def _filled(rom: Path, start: int, end: int) -> bool:
    """Whether any byte from `start` to `end` is not zero. Raises OSError."""
    with rom.open("rb") as file:
        file.seek(start)
        return any(file.read(end - start))
