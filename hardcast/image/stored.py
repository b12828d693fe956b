"""What lies in a ROM file, by its manifest entries: arrays and matrices, mapped or read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.image.matrix import Matrix

PARTS = ("codes", "scales", "offsets", "row_multiplier", "row_shift")
"""A matrix's arrays in the order of the ROM; each is a tensor `name.part`."""


def content_of(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array as they lie in the ROM file, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def sha256_of(array: np.ndarray) -> str:
    """Hexadecimal SHA-256 of a contiguous array's bytes."""
    return hashlib.sha256(content_of(array)).hexdigest()


def tensor_entry(array: np.ndarray, offset: int) -> dict[str, Any]:
    """What the manifest says of a tensor. offset: bytes into the ROM file."""
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "offset": offset,
        "sha256": sha256_of(array),
    }


def size_bytes(entry: dict[str, Any]) -> int:
    """Length of a tensor in the ROM file."""
    return int(np.dtype(entry["dtype"]).itemsize * math.prod(entry["shape"]))


def read_tensor(rom: Path, entry: dict[str, Any], mapped: bool) -> np.ndarray:
    """The tensor of an entry, read-only. mapped=False reads it into memory instead."""
    dtype, shape = np.dtype(entry["dtype"]).newbyteorder("<"), tuple(entry["shape"])
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    if mapped:
        return np.memmap(rom, dtype, "r", entry["offset"], shape)
    flat = np.fromfile(rom, dtype, math.prod(shape), offset=entry["offset"])
    return flat.reshape(shape)


def matrix_form(matrix: Matrix) -> dict[str, Any]:
    """What the manifest says of a matrix beside its tensors and its sum_bits."""
    return {
        "out_features": matrix.out_features,
        "in_features": matrix.in_features,
        "bits": matrix.bits,
        "planes": matrix.planes,
        "group_size": matrix.group_size,
        "codebook": matrix.codebook.tolist(),
        "rom_bits": matrix.rom_bits,
    }


def read_matrix(
    name: str, entry: dict[str, Any], part: Callable[[str], np.ndarray | None]
) -> Matrix:
    """The matrix of an entry, checked. part: the array of one of PARTS; None for no offsets."""
    arrays: dict[str, Any] = {which: part(which) for which in PARTS}
    matrix = Matrix(
        name=name,
        out_features=entry["out_features"],
        in_features=entry["in_features"],
        bits=entry["bits"],
        planes=entry["planes"],
        group_size=entry["group_size"],
        codebook=np.array(entry["codebook"], np.int16),
        **arrays,
    )
    matrix.check()
    return matrix
