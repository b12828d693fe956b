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
from hardcast.image.layout import ALIGNMENT, FORMAT, MANIFEST, ROM, TOKENIZER, digest_of
from hardcast.image.matrix import Matrix


class ImageWriter:
    """Context manager around a folder beside `path` that becomes `path` in `finish`.

    Whatever ends the build before `finish` (an error, Ctrl-C, a full disk) removes the folder,
    so `path` is either a whole image or what it was before.

    path: where the image shall be; replace: allow an older image there to be replaced.
    Raises HardcastError if `path` exists and is not an image, or is one and `replace` is false.
    """

    def __init__(self, path: Path, replace: bool = False) -> None:
        self.path = path
        if path.exists():
            if not (path / MANIFEST).is_file():
                raise HardcastError(f"{path}: exists and is not a chip image; choose another -o")
            if not replace:
                raise HardcastError(f"{path}: an image is there already; --force replaces it")
        self._partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
        self._tensors: dict[str, dict[str, Any]] = {}
        self._matrices: dict[str, dict[str, Any]] = {}
        self._position = 0
        self._rom: BinaryIO | None = None

    def __enter__(self) -> ImageWriter:
        return self

    def _open_rom(self) -> BinaryIO:
        """Makes the partial folder at the first tensor: a mistyped model leaves no folders."""
        if self._rom is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.mkdir()
            self._rom = open(self._partial / ROM, "wb")
        return self._rom

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
        if self._partial.exists():
            shutil.rmtree(self._partial, ignore_errors=True)

    def add_tensor(self, name: str, array: np.ndarray) -> None:
        """Appends one tensor (little-endian, C order) to rom.bin and notes its hash."""
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        rom = self._open_rom()
        padding = -self._position % ALIGNMENT
        rom.write(b"\0" * padding)
        self._position += padding
        content = array.reshape(-1).view(np.uint8).data  # bytes, no copy
        rom.write(content)
        self._tensors[name] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "offset": self._position,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        self._position += content.nbytes

    def add_matrix(self, matrix: Matrix) -> None:
        """Appends a matrix: its arrays as tensors `name.codes` ..., its form in the manifest."""
        matrix.check()
        for part in ("codes", "scales", "offsets", "row_multiplier", "row_shift"):
            array = getattr(matrix, part)
            if array is not None:
                self.add_tensor(f"{matrix.name}.{part}", array)
        self._matrices[matrix.name] = {
            "out_features": matrix.out_features,
            "in_features": matrix.in_features,
            "bits": matrix.bits,
            "planes": matrix.planes,
            "group_size": matrix.group_size,
            "codebook": matrix.codebook.tolist(),
            "rom_bits": matrix.rom_bits,
            "sum_bits": matrix.sum_bits(),
        }

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
