"""GPTQ and AWQ: qweight, qzeros and scales of a matrix; they differ in how words are filled.

GPTQ's words hold codes of neighbouring columns (inputs), AWQ's those of eight rows in an order of
its own. w = scale (code - zero). GPTQ's first format stores zeros one too low.
"""

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
    unpack,
    whole,
)
from hardcast.checkpoint.safetensors_header import Entry
from hardcast.errors import HardcastError

ENDS = ("qweight", "qzeros", "scales", "g_idx")
BITS = (2, 3, 4, 8)
AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # where a word has the codes of eight rows
FORMATS = ("gptq", "gptq_v2")
VERSIONS = ("gemm",)


def check(where: str, said: Mapping[str, Any]) -> None:
    """Raises HardcastError for a layout of the same tool's that is another one."""
    for key, known in (("checkpoint_format", FORMATS), ("version", VERSIONS)):
        value = said.get(key)
        if value is not None and str(value).lower() not in known:
            raise HardcastError(
                f"{where}: {key} {value!r:.40} is not supported, only {' and '.join(known)}; save "
                f"the model in that form, or give the model that it was made from"
            )


def read(module: str, parts: Mapping[str, Entry], said: Mapping[str, Any]) -> Packed:
    """The matrix of a module ("model.layers.0.mlp.up_proj") from its parts, by their ends.

    said: quantization_config. Raises HardcastError if they do not go together.
    """
    for end in ENDS[:3]:
        if end not in parts:
            raise HardcastError(
                f"{next(iter(parts.values())).path}: tensor {module}.{end} is missing; a matrix "
                f"packed by GPTQ or AWQ has {', '.join(ENDS[:3])}"
            )
    scales = expect(module, parts["scales"], "scales", None, FLOATS)
    words = expect(module, parts["qweight"], "qweight", None, INTEGERS)
    groups, out_features = scales.shape
    if words.shape[1] == out_features:
        return _gptq(module, parts, said)
    bits = words.shape[1] * WORD // max(out_features, 1)
    in_features = words.shape[0]
    if bits != 4 or out_features % 8:
        raise HardcastError(
            f"{words.path}: tensor {module}.qweight has shape {list(words.shape)} beside scales "
            f"{list(scales.shape)}: neither GPTQ's packing nor AWQ's of 4 bits"
        )
    zeros = expect(module, parts["qzeros"], "qzeros", (groups, words.shape[1]), INTEGERS)
    size = group_size_of(module, words.path, in_features, groups, _group_size(said))

    def rows_of(rows: slice | np.ndarray) -> Parts:
        index = np.arange(out_features)[rows]
        inside = np.unique(index // 8)  # the words that these rows are in
        place = np.searchsorted(inside, index // 8) * 8 + index % 8

        def codes(name: str, entry: Entry) -> np.ndarray:
            fields = unpack(whole(name, entry)[:, inside], 4, 8 * len(inside))
            ordered = fields.reshape(len(fields), -1, 8)[:, :, AWQ_ORDER].reshape(len(fields), -1)
            return np.ascontiguousarray(ordered[:, place].T)

        scale = np.ascontiguousarray(whole(f"{module}.scales", scales)[:, rows].T)
        minimum = -scale * codes(f"{module}.qzeros", zeros)
        return codes(f"{module}.qweight", words), scale, minimum

    return Packed(f"{module}.weight", words.path, (out_features, in_features), 4, size, rows_of)


def _bits(parts: Mapping[str, Entry], said: Mapping[str, Any]) -> int:
    """Of a code, as the shapes allow; 0 if they allow nothing.

    Few rows fill as many words with 3 bits as with 4: g_idx tells, or else the config.
    """
    scales, words, zeros = parts["scales"], parts["qweight"], parts["qzeros"]
    fit = {
        bits: words.shape[0] * WORD // bits
        for bits in BITS
        if words.shape[0] * WORD % bits == 0
        and zeros.shape[1] == -(-scales.shape[1] * bits // WORD)
    }
    index = parts["g_idx"].shape if "g_idx" in parts else ()
    likely = sorted(fit, key=lambda bits: ((fit[bits],) != index, bits != said.get("bits")))
    return likely[0] if likely else 0


def _gptq(module: str, parts: Mapping[str, Entry], said: Mapping[str, Any]) -> Packed:
    scales, words, zeros = parts["scales"], parts["qweight"], parts["qzeros"]
    groups, out_features = scales.shape
    expect(module, zeros, "qzeros", None, INTEGERS)
    bits = _bits(parts, said)
    if not bits:
        raise HardcastError(
            f"{zeros.path}: tensor {module}.qzeros has shape {list(zeros.shape)} beside scales "
            f"{list(scales.shape)}: GPTQ has {', '.join(map(str, BITS))} bits"
        )
    in_features = words.shape[0] * WORD // bits
    expect(module, zeros, "qzeros", (groups, zeros.shape[1]), INTEGERS)
    size = group_size_of(module, words.path, in_features, groups, _group_size(said))
    group_of = None
    if "g_idx" in parts and parts["g_idx"].shape != (0,):
        entry = expect(module, parts["g_idx"], "g_idx", (in_features,), INTEGERS)
        stored = whole(f"{module}.g_idx", entry).astype(np.int64)
        if stored.size and stored.max() >= groups:
            raise HardcastError(
                f"{entry.path}: tensor {module}.g_idx names group {stored.max()} of {groups}"
            )
        # All zeros is an index that nobody filled in: ExLlama takes it so too.
        if stored.any() and (stored != np.arange(in_features) // size).any():
            group_of = stored
    lower = str(said.get("checkpoint_format", "gptq")).lower() != "gptq_v2"

    def rows_of(rows: slice | np.ndarray) -> Parts:
        packed = whole(f"{module}.qweight", words)[:, rows].T
        scale = np.ascontiguousarray(whole(f"{module}.scales", scales)[:, rows].T)
        zero = _zeros(whole(f"{module}.qzeros", zeros), bits, out_features, lower)[:, rows].T
        return unpack(packed, bits, in_features), scale, -scale * zero

    shape = (out_features, in_features)
    return Packed(f"{module}.weight", words.path, shape, bits, size, rows_of, group_of=group_of)


def _zeros(words: np.ndarray, bits: int, count: int, lower: bool) -> np.ndarray:
    """uint8[groups, count]. lower: stored one too low, with the borrows of the whole word."""
    if lower and 8 % bits == 0:
        words = words + np.uint32(sum(1 << shift for shift in range(0, WORD, bits)))
    zeros = unpack(words, bits, count)
    return zeros + np.uint8(1) & np.uint8((1 << bits) - 1) if lower and 8 % bits else zeros


def _group_size(said: Mapping[str, Any]) -> object:
    return said.get("group_size", said.get("q_group_size"))
