"""MLX: the weight's words hold codes of neighbouring columns; w = scale code + bias, or MXFP4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hardcast.checkpoint.gguf_blocks import E2M1, FLOAT4
from hardcast.checkpoint.packings.packed import (
    FLOATS,
    WORD,
    Packed,
    Parts,
    expect,
    some_rows,
    unpack,
)
from hardcast.checkpoint.safetensors_header import Entry
from hardcast.errors import HardcastError

ENDS = ("weight", "scales", "biases")
BITS = (2, 3, 4, 5, 6, 8)
MXFP4_GROUP = 32
BIAS = 127  # of MXFP4's exponents


def read(module: str, parts: Mapping[str, Entry], said: Mapping[str, Any]) -> Packed:
    """The matrix of a module from its parts. said: config.json's `quantization`.

    A module may have an entry of its own there. Raises HardcastError if they do not go together.
    """
    own = said.get(module)
    settings = {**said, **own} if isinstance(own, dict) else said
    words = expect(module, parts["weight"], "weight", None, ("U32",))
    if "biases" not in parts:
        return _mxfp4(module, parts, settings)
    scales = expect(module, parts["scales"], "scales", None, FLOATS)
    biases = expect(module, parts["biases"], "biases", scales.shape, FLOATS)
    size, path = settings.get("group_size", 64), words.path
    columns = scales.shape[1] * size if type(size) is int and size > 0 else 0
    bits = words.shape[1] * WORD // columns if columns else 0
    if bits not in BITS or bits * columns != words.shape[1] * WORD:
        raise HardcastError(
            f"{path}: tensor {module}.weight has shape {list(words.shape)} beside scales "
            f"{list(scales.shape)}, which group_size {size!r:.20} of config.json's quantization "
            f"does not give"
        )
    expect(module, scales, "scales", (words.shape[0], scales.shape[1]), FLOATS)

    def rows_of(rows: slice | np.ndarray) -> Parts:
        codes = unpack(some_rows(f"{module}.weight", words, rows), bits, columns)
        scale = some_rows(f"{module}.scales", scales, rows)
        return codes, scale, some_rows(f"{module}.biases", biases, rows)

    return Packed(f"{module}.weight", path, (words.shape[0], columns), bits, size, rows_of)


def _mxfp4(module: str, parts: Mapping[str, Entry], settings: Mapping[str, Any]) -> Packed:
    words, mode = parts["weight"], settings.get("mode", "affine")
    columns = words.shape[1] * 8
    shape = (words.shape[0], columns // MXFP4_GROUP)
    if mode != "mxfp4":
        raise HardcastError(
            f"{words.path}: {module} is quantised by MLX in mode {mode!r:.20} without biases; "
            f"supported are affine and mxfp4: quantise the model so, or give a GGUF file"
        )
    scales = expect(module, parts["scales"], "scales", shape, ("U8",))
    values = np.array([*E2M1, *(-value for value in E2M1)], np.int8)

    def rows_of(rows: slice | np.ndarray) -> Parts:
        codes = unpack(some_rows(f"{module}.weight", words, rows), 4, columns)
        exponents = some_rows(f"{module}.scales", scales, rows).astype(np.int32) - BIAS - 1
        return values[codes], np.ldexp(np.float32(1), exponents), None

    shape = (words.shape[0], columns)
    return Packed(f"{module}.weight", words.path, shape, 4, MXFP4_GROUP, rows_of, codebook=FLOAT4)
