"""What every checkpoint format offers to the passes of `build`, and what the readers share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hardcast.checkpoint.config import ModelConfig
from hardcast.errors import HardcastError

JSON_LIMIT_BYTES = 256 << 20  # the largest tokenizer.json in use is a tenth of this


@dataclass(frozen=True)
class GridForm:
    """The kind of integer grid that a tensor is stored on, known without reading it.

    bits: of a code, 2 to 8. group_size: weights along in_features that share a scale.
    codebook: the integers that a code may be, ascending; () where they are evenly spaced.
    """

    bits: int
    group_size: int
    codebook: tuple[int, ...] = ()


@dataclass(frozen=True)
class Grid:
    """An exact integer grid that a file stores: w = scale * code + minimum, in float32.

    bits: 2 to 8; of a grid with a codebook, of an index into it.
    codes: uint8[out_features, in_features] of 0..2^bits - 1 where there is a minimum, else int8 of
    -2^(bits-1)..2^(bits-1) - 1, or any of the codebook.
    scale: float32[out_features, groups], groups = in_features / group_size rounded up.
    minimum: float32[out_features, groups], or None where the grid has no offset.
    group_size: weights along in_features that share a scale.
    codebook: as of its GridForm.
    """

    bits: int
    codes: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray | None
    group_size: int
    codebook: tuple[int, ...] = ()


class Checkpoint(Protocol):
    """A model on disk, read lazily: nothing but the tensor just asked for is in memory.

    Names, shapes and row order are Hugging Face's whatever the file's own are:
    `model.layers.0.self_attn.q_proj.weight` is [out_features, in_features], its rows in
    rotate-half RoPE order.
    """

    path: Path
    config: ModelConfig
    notes: list[str]
    """What the user should know of how it was read, a line each."""

    def names(self) -> list[str]:
        """Every tensor of the model, in the order of the forward pass."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, known without reading it."""
        ...

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        """float32[shape], or only some of its rows, so that a large matrix can go in pieces.

        Raises HardcastError naming the tensor if a value is NaN or infinite.
        """
        ...

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """The integer grid of a tensor that is stored on one; else None."""
        ...

    def grid_form(self, name: str) -> GridForm | None:
        """What grid() will give, known without reading the tensor."""
        ...

    def tokenizer_source(self) -> dict[str, Any]:
        """Material for tokenizer/: {"kind": "gguf", ...} or {"kind": "hf", ...}, JSON-able."""
        ...


def check_tensors(
    path: Path, config: ModelConfig, found: dict[str, tuple[int, ...]], ignored: Iterable[str] = ()
) -> None:
    """Holds the tensors of a file against what its config promises.

    found: shapes under Hugging Face names. ignored: names that carry no weights of the model.
    Raises HardcastError naming the first tensor that is missing, misshapen or not understood.
    """
    expected = config.stored_shapes()
    for name, shape in expected.items():
        if name not in found:
            other = next((key for key in found if key.endswith("." + name)), None)
            raise HardcastError(
                f"{path}: tensor {name} is missing; the {config.architecture} config needs it"
                + (f" (there is {other:.100}: save the model itself, unwrapped)" if other else "")
            )
        if found[name] != shape:
            raise HardcastError(
                f"{path}: tensor {name} has shape {list(found[name])}, its config says "
                f"{list(shape)}"
            )
    extra = sorted(set(found) - set(expected) - set(ignored))
    if extra:
        # A tensor left out silently (a bias, an adapter) would make a chip of another model.
        raise HardcastError(
            f"{path}: tensor {extra[0]!r:.100} is no part of a {config.architecture} model that "
            f"Hardcast supports ({len(extra)} such)"
        )


def check_finite(path: Path, name: str, values: np.ndarray) -> None:
    """Raises HardcastError if a value of the float32 array `values` is NaN or infinite."""
    # One pass without a temporary of the array's size: a sum of finite float32 values cannot
    # overflow float64, and any NaN or infinity survives in it.
    with np.errstate(invalid="ignore"):
        total = np.sum(values, dtype=np.float64)
    if not np.isfinite(total):
        position = np.argwhere(~np.isfinite(values))[0].tolist()
        raise HardcastError(
            f"{path}: tensor {name} holds {values[tuple(position)]} at {position}; "
            f"every weight must be finite: fetch or export the checkpoint again"
        )


def read_bytes(path: Path, name: str, offset: int, size_bytes: int) -> np.ndarray:
    """uint8[size_bytes] of the file from `offset`.

    Raises HardcastError if the file cannot be read or has become shorter.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8, count=size_bytes, offset=offset)
    except OSError as error:
        raise HardcastError(f"{path}: tensor {name} cannot be read: {error.strerror}") from None
    if data.size != size_bytes:
        raise HardcastError(
            f"{path}: tensor {name} ends early: {data.size} of {size_bytes} bytes are there"
        )
    return data


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises HardcastError if the file is missing, too large, not JSON or not an object.
    """
    try:
        if path.stat().st_size > JSON_LIMIT_BYTES:
            raise HardcastError(f"{path}: larger than {JSON_LIMIT_BYTES >> 20} MiB of JSON")
        return json_object(path.read_bytes(), str(path))
    except OSError as error:
        raise HardcastError(f"{path}: cannot be read: {error.strerror}") from None


def json_object(text: bytes, where: str, repeats: bool = True) -> dict[str, Any]:
    """Parses a JSON object; `where` names it in the HardcastError for anything else.

    repeats: the last of several equal keys counts, as for transformers; otherwise they are refused.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise HardcastError(
                f"{where}: {twice!r:.80} appears twice; the file is damaged, fetch or save it again"
            )
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=None if repeats else unique)
    except (ValueError, RecursionError) as error:
        raise HardcastError(f"{where}: not valid JSON ({error})".replace("\n", " ")) from None
    if not isinstance(value, dict):
        raise HardcastError(f"{where}: a JSON object was expected, not {type(value).__name__}")
    return value


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
