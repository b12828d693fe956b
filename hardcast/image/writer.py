"""Writes an image: streamed tensor by tensor, hashed on the way, renamed into place at the end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from hardcast.errors import HardcastError
from hardcast.files import check_above
from hardcast.image.journal import Journal, end_of
from hardcast.image.layout import ALIGNMENT, FORMAT, MANIFEST, ROM, TOKENIZER, digest_of
from hardcast.image.matrix import Matrix
from hardcast.image.stored import (
    PARTS,
    content_of,
    matrix_form,
    read_matrix,
    read_tensor,
    tensor_entry,
)


class ImageWriter:
    """Context manager around a folder beside `path` that becomes `path` in `finish`.

    Whatever ends the build before `finish` (an error, Ctrl-C, a full disk) removes the folder,
    so `path` is either a whole image or what it was before.

    With a `key` a long build can go on where it was interrupted: the folder is then called
    `.NAME.partial`, and a journal (image/journal.py) notes each matrix once it is on disk. Ctrl-C,
    a kill, a crash or a full disk leave both, if a matrix is done; a build that was refused
    (HardcastError) would be refused again, and leaves nothing. The next writer with the same key
    has them: `finished` gives a matrix back, and adding what is there already does nothing. Added
    in the same order, the image is the same byte for byte. Another key starts anew.

    path: where the image shall be; replace: allow an older image there to be replaced.
    key: names everything that the bytes depend on: the model, the recipe, every option, the
    version. kept: the folder that an interrupted build left to go on from, else None.
    Raises HardcastError if `path` is below a file, exists and is not an image, or is one and
    `replace` is false, and at the first tensor if another build of the same image is under way.
    """

    def __init__(self, path: Path, replace: bool = False, key: str | None = None) -> None:
        self.path = path
        check_above(path)
        if path.exists():
            if not (path / MANIFEST).is_file():
                raise HardcastError(f"{path}: exists and is not a chip image; choose another -o")
            if not replace:
                raise HardcastError(f"{path}: an image is there already; --force replaces it")
        own = f"-{os.getpid()}" if key is None else ""
        self._partial = path.with_name(f".{path.name}.partial{own}")
        self._key = key
        self._journal: Journal | None = None
        self._tensors: dict[str, dict[str, Any]] = {}
        self._matrices: dict[str, dict[str, Any]] = {}
        self._position = 0
        self._rom: BinaryIO | None = None
        self.kept: Path | None = None

    def __enter__(self) -> ImageWriter:
        return self

    def _open_rom(self) -> BinaryIO:
        """Makes the partial folder at the first tensor: a mistyped model leaves no folders."""
        if self._rom is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._key is None:
                self._partial.mkdir()
            else:
                self._resume(self._key)
            self._rom = open(self._partial / ROM, "ab")
        return self._rom

    def _resume(self, key: str) -> None:
        """Takes the lock, and over what an interrupted build with the same key has done."""
        rom = self._partial / ROM
        self._journal = Journal(self._partial.with_name(f"{self._partial.name}.journal"), self.path)
        for record in self._journal.read(key, rom):
            self._tensors |= record["tensors"]
            self._matrices |= record["matrices"]
            self._position = end_of(record)
        if self._position:
            os.truncate(rom, self._position)
        else:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            if self._rom is not None:
                self._rom.close()
        except OSError:
            pass  # a full disk fails here again; the first error is the one to report
        if self._key is None:
            shutil.rmtree(self._partial, ignore_errors=True)
        elif self._journal is not None:
            interrupted = kind is not None and not issubclass(kind, HardcastError)
            keep = interrupted and bool(self._matrices) and self._partial.exists()
            if keep:
                self.kept = self._partial
            else:
                shutil.rmtree(self._partial, ignore_errors=True)
            self._journal.close(remove=not keep)

    def finished(self, name: str) -> Matrix | None:
        """A matrix that is in the partial image already, its arrays mapped; None if it is not."""
        rom = self._open_rom()
        if name not in self._matrices:
            return None
        rom.flush()

        def part(which: str) -> np.ndarray | None:
            entry = self._tensors.get(f"{name}.{which}")
            return None if entry is None else read_tensor(self._partial / ROM, entry, mapped=True)

        return read_matrix(name, self._matrices[name], part)

    def add_tensor(self, name: str, array: np.ndarray) -> None:
        """Appends one tensor (little-endian, C order) to rom.bin and notes its hash.

        Raises HardcastError if another tensor of that name is there.
        """
        self._note(self._append({name: array}), {})

    def add_matrix(self, matrix: Matrix) -> None:
        """Appends a matrix: its arrays as tensors `name.codes` ..., its form in the manifest.

        Raises HardcastError if it does not fit its form, or another of that name is there.
        """
        matrix.check()
        self._open_rom()
        form, known = matrix_form(matrix), self._matrices.get(matrix.name)
        if known is not None and form != {key: known[key] for key in form}:
            raise self._differs(f"matrix {matrix.name}")
        arrays = {f"{matrix.name}.{part}": getattr(matrix, part) for part in PARTS}
        added = self._append({k: array for k, array in arrays.items() if array is not None})
        if known is None:
            self._note(added, {matrix.name: {**form, "sum_bits": matrix.sum_bits()}})

    def _append(self, arrays: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
        """Writes those that are not there yet; returns their entries."""
        rom = self._open_rom()
        added = {}
        for name, array in arrays.items():
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            padding = -self._position % ALIGNMENT
            entry = tensor_entry(array, self._position + padding)
            if name in self._tensors:
                known = self._tensors[name]
                if entry != {**known, "offset": entry["offset"]}:
                    raise self._differs(f"tensor {name}")
                continue
            rom.write(b"\0" * padding)
            rom.write(content_of(array))
            self._tensors[name] = added[name] = entry
            self._position += padding + array.nbytes
        return added

    def _note(
        self, tensors: dict[str, dict[str, Any]], matrices: dict[str, dict[str, Any]]
    ) -> None:
        """Makes what was appended durable, then the journal's line about it."""
        self._matrices |= matrices
        if self._journal is not None and self._rom is not None and tensors:
            self._rom.flush()
            os.fsync(self._rom.fileno())
            self._journal.append({"tensors": tensors, "matrices": matrices})

    def _differs(self, what: str) -> HardcastError:
        return HardcastError(
            f"{self.path}: {what} is not what was written under that name before; build again"
        )

    def finish(
        self, chip: dict[str, Any], tokenizer: dict[str, Any], provenance: dict[str, Any]
    ) -> str:
        """Writes the manifest, makes everything durable, renames. Returns the digest.

        chip: program, context, points, constants, widths, recipe; the tensors, matrices and
        tokenizer hash are added here. provenance: what the digest does not cover (source name).
        """
        rom = self._open_rom()
        text = json.dumps(tokenizer, sort_keys=True, ensure_ascii=False).encode()
        _write(self._partial / TOKENIZER, text)
        chip = {
            **chip,
            "format": FORMAT,
            "tensors": self._tensors,
            "matrices": self._matrices,
            "rom_bytes": self._position,
            "tokenizer_sha256": hashlib.sha256(text).hexdigest(),
        }
        digest = digest_of(chip)
        manifest = {"digest": digest, "chip": chip, "provenance": provenance}
        _write(self._partial / MANIFEST, json.dumps(manifest, indent=1).encode())
        rom.flush()
        os.fsync(rom.fileno())
        rom.close()
        self._rename()
        if self._journal is not None:
            self._journal.close(remove=True)
            self._journal = None
        return digest

    def _rename(self) -> None:
        old = self.path.with_name(f".{self.path.name}.old-{os.getpid()}")
        try:
            if self.path.exists():
                os.rename(self.path, old)
            os.rename(self._partial, self.path)
        except BaseException:  # Ctrl-C between the two as well
            if old.exists() and not self.path.exists():
                os.rename(old, self.path)
            raise
        shutil.rmtree(old, ignore_errors=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
