"""Reads an image: manifest checked at once, tensors mapped, hashes verified when asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.errors import HardcastError
from hardcast.files import check_file
from hardcast.image import check
from hardcast.image.layout import FORMAT, MANIFEST, MANIFEST_LIMIT, ROM, TOKENIZER, digest_of
from hardcast.image.matrix import Matrix
from hardcast.image.stored import read_matrix, read_tensor, sha256_of
from hardcast.numerics.points import Points
from hardcast.program.program import Program, verify


class Image:
    """An opened chip image. Attributes: path, digest, program, context, points, constants, chip.

    chip: the digested manifest as a dict. constants: named integers (norm epsilons).
    Raises HardcastError, one line, for a folder that is no image, is truncated, altered or newer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        manifest = _read_manifest(path)
        try:
            self.digest: str = manifest["digest"]
            self.chip: dict[str, Any] = manifest["chip"]
            self.provenance: dict[str, Any] = manifest.get("provenance", {})
            version = self.chip["format"]
            if version != FORMAT:
                raise HardcastError(
                    f"{path}: image format {version}, this Hardcast reads {FORMAT}; "
                    "build it anew or upgrade Hardcast"
                )
            if digest_of(self.chip) != self.digest:
                raise HardcastError(f"{path}: {MANIFEST} was altered: it does not match its digest")
            self._check_rom(check.integer(self.chip["rom_bytes"], 0, 1 << 48, "rom_bytes"))
            self.program = _read_program(path, self.chip["program"])
            self.context = check.integer(self.chip["context"], 1, check.SIZE_LIMIT, "context")
            self.points = Points(**self.chip["points"])
            check.check_points(self.points)
            self.constants: dict[str, int] = self.chip["constants"]
            check.check_constants(self.constants, self.program)
            self._tensors: dict[str, dict[str, Any]] = self.chip["tensors"]
            check.check_tensors(self._tensors, self.chip["rom_bytes"])
            check.check_contents(self._tensors, self.program, self.context)
            self.matrices: dict[str, dict[str, Any]] = self.chip["matrices"]
            check.check_matrices(self.matrices, self.program)
        except check.Malformed as error:
            raise HardcastError(f"{path}: {MANIFEST} is malformed: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HardcastError(f"{path}: {MANIFEST} is malformed ({error!r:.200})") from None

    def _check_rom(self, expected: int) -> None:
        rom = self.path / ROM
        found = rom.stat().st_size if rom.is_file() else 0
        if found != expected:
            raise HardcastError(
                f"{rom}: {found} bytes, expected {expected}: the image is truncated"
            )

    def tensor(self, name: str, mapped: bool = True) -> np.ndarray:
        """A tensor by its full name, read-only. mapped=False reads it into memory instead."""
        if name not in self._tensors:
            raise HardcastError(f"{self.path}: the image has no tensor {name}")
        return read_tensor(self.path / ROM, self._tensors[name], mapped)

    def has(self, name: str) -> bool:
        """Whether there is a tensor of that full name."""
        return name in self._tensors

    def matrix(self, name: str, mapped: bool = True) -> Matrix:
        """A matrix by name; its arrays are memory-mapped unless mapped=False."""
        if name not in self.matrices:
            raise HardcastError(f"{self.path}: the image has no matrix {name}")

        def part(which: str) -> np.ndarray | None:
            if which == "offsets" and not self.has(f"{name}.offsets"):
                return None
            return self.tensor(f"{name}.{which}", mapped)

        return read_matrix(name, self.matrices[name], part)

    def tokenizer_json(self) -> dict[str, Any]:
        """The tokenizer as stored; its hash is always checked."""
        check_file(self.path / TOKENIZER)
        try:
            text = (self.path / TOKENIZER).read_bytes()
        except OSError as error:
            raise HardcastError(f"{self.path / TOKENIZER}: {error.strerror}") from None
        if hashlib.sha256(text).hexdigest() != self.chip["tokenizer_sha256"]:
            raise HardcastError(f"{self.path / TOKENIZER}: altered: it does not match its hash")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise HardcastError(f"{self.path / TOKENIZER}: not a JSON object")
        return value

    def verify(self, progress: Callable[[str, int, int], None] | None = None) -> None:
        """Hashes every tensor and the tokenizer. Raises HardcastError naming the first altered."""
        self.tokenizer_json()
        for done, (name, entry) in enumerate(self._tensors.items()):
            if sha256_of(self.tensor(name)) != entry["sha256"]:
                raise HardcastError(f"{self.path}: tensor {name} was altered: hash differs")
            if progress:
                progress("verifying", done + 1, len(self._tensors))

    @property
    def rom_bits(self) -> int:
        """Mask ROM bits of all matrices, scales and row multipliers included."""
        return sum(entry["rom_bits"] for entry in self.matrices.values())

    @property
    def parameters(self) -> int:
        """Number of weights in all matrices of the image."""
        return sum(e["out_features"] * e["in_features"] for e in self.matrices.values())


def _read_program(path: Path, data: Any) -> Program:
    try:
        program = Program.from_json(data)
        check.check_program(program)
        verify(program)
    except HardcastError as error:
        raise HardcastError(f"{path}: {error!s:.300}") from None
    return program


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        raise HardcastError(f"{path}: not a chip image (no {MANIFEST}); `hardcast build` makes one")
    if file.stat().st_size > MANIFEST_LIMIT:
        raise HardcastError(f"{file}: larger than {MANIFEST_LIMIT >> 20} MiB: not a manifest")
    try:
        manifest = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise HardcastError(f"{file}: not valid JSON: truncated or altered") from None
    if not isinstance(manifest, dict) or "chip" not in manifest:
        raise HardcastError(f"{file}: not a chip image manifest")
    return manifest


def open_image(path: str | Path) -> Image:
    """Opens the image folder at `path`. Raises HardcastError (see Image)."""
    return Image(Path(path))
