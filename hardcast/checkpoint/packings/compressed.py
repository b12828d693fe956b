"""compressed-tensors: weight_packed (pack-quantized) or int8 weights (int-quantized), scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hardcast.checkpoint.packings.packed import (
    FLOATS,
    INTEGERS,
    WORD,
    Packed,
    Parts,
    expect,
    group_size_of,
    some_rows,
    unpack,
    whole,
)
from hardcast.checkpoint.safetensors_header import Entry
from hardcast.errors import HardcastError

PACKED = ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx")
PLAIN = ("weight", "weight_scale", "weight_zero_point")
UNSET = (1 << 32) - 1  # -1 in weight_g_idx: an index that nobody filled in, columns in order
BITS = (2, 4, 8)  # that fill a word


def read(module: str, parts: Mapping[str, Entry], said: Mapping[str, Any]) -> Packed:
    """The matrix of a module from its parts. said: quantization_config.

    Codes are stored with half of their range added. Raises HardcastError if the parts do not go
    together.
    """
    if "weight_scale" not in parts:
        path = next(iter(parts.values())).path
        raise HardcastError(f"{path}: tensor {module}.weight_scale is missing")
    scales = expect(module, parts["weight_scale"], "weight_scale", None, FLOATS)
    if "weight_packed" not in parts:
        return _int8(module, parts, scales)
    words = expect(module, parts["weight_packed"], "weight_packed", None, INTEGERS)
    shape = expect(module, parts["weight_shape"], "weight_shape", (2,), ("I64", "I32"))
    rows, columns = (int(n) for n in whole(f"{module}.weight_shape", shape))
    bits = next((b for b in BITS if words.shape == (rows, -(-columns * b // WORD))), 0)
    if not bits or columns < 1:
        raise HardcastError(
            f"{words.path}: tensor {module}.weight_packed has shape {list(words.shape)} for a "
            f"matrix of {[rows, columns]}: supported are {', '.join(map(str, BITS))} bits a code"
        )
    groups, middle = scales.shape[1], 1 << bits - 1
    expect(module, scales, "weight_scale", (rows, groups), FLOATS)
    size = group_size_of(module, words.path, columns, groups, _group_size(said))
    group_of = None
    if "weight_g_idx" in parts:
        entry = expect(module, parts["weight_g_idx"], "weight_g_idx", (columns,), ("I32", "I64"))
        # Unsigned, so that -1 is the same of both types.
        stored = whole(f"{module}.weight_g_idx", entry).astype(np.uint32).astype(np.int64)
        in_order = (stored == np.arange(columns) // size).all()
        if not in_order and not (stored == UNSET).any():
            if stored.max() >= groups:
                raise HardcastError(f"{entry.path}: tensor {module}.weight_g_idx names no group")
            group_of = stored
    zeros = parts.get("weight_zero_point")
    if zeros is not None:
        zeros = expect(
            module, zeros, "weight_zero_point", (-(-rows * bits // WORD), groups), INTEGERS
        )

    def rows_of(part: slice | np.ndarray) -> Parts:
        codes = unpack(some_rows(f"{module}.weight_packed", words, part), bits, columns)
        scale = some_rows(f"{module}.weight_scale", scales, part)
        if zeros is None:
            if bits == 8:  # signed codes need no minimum
                return (codes ^ 128).view(np.int8), scale, None
            return codes, scale, np.float32(-middle) * scale
        packed = whole(f"{module}.weight_zero_point", zeros).T
        zero = unpack(packed, bits, rows).T[part]
        return codes, scale, -scale * zero

    weight = f"{module}.weight"
    return Packed(weight, words.path, (rows, columns), bits, size, rows_of, group_of=group_of)


def _int8(module: str, parts: Mapping[str, Entry], scales: Entry) -> Packed:
    weight = expect(module, parts["weight"], "weight", None, ("I8",))
    rows, columns = weight.shape
    expect(module, scales, "weight_scale", (rows, scales.shape[1]), FLOATS)
    size = group_size_of(module, weight.path, columns, scales.shape[1], None)
    zeros = parts.get("weight_zero_point")
    if zeros is not None:
        zeros = expect(module, zeros, "weight_zero_point", scales.shape, ("I8",))

    def rows_of(part: slice | np.ndarray) -> Parts:
        codes = some_rows(f"{module}.weight", weight, part)
        scale = some_rows(f"{module}.weight_scale", scales, part)
        if zeros is None:
            return codes, scale, None
        zero = some_rows(f"{module}.weight_zero_point", zeros, part).astype(np.float32)
        return codes.view(np.uint8) ^ 128, scale, -scale * (zero + 128)

    return Packed(f"{module}.weight", weight.path, (rows, columns), 8, size, rows_of)


def _group_size(said: Mapping[str, Any]) -> object:
    """What the first of config_groups says of weights."""
    groups = said.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    return weights.get("group_size") if isinstance(weights, dict) else None
