"""Matrices that other tools quantised, as integer grids: GPTQ, AWQ, MLX, compressed-tensors.

Which packing a matrix has is seen from the names of its tensors; the config says what these leave
open. What is packed in another way stays where it is, for `foreign.py` to name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hardcast.checkpoint.packings import compressed, gptq, mlx
from hardcast.checkpoint.packings.packed import Packed, whole
from hardcast.checkpoint.safetensors_header import Entry

METHODS = ("gptq", "awq", "compressed-tensors", "mlx")
Reader = Callable[[str, Mapping[str, Entry], Mapping[str, Any]], Packed]

__all__ = ["Packed", "collect", "settings"]


def settings(config: Mapping[str, Any], beside: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a config says of its quantised weights; None if they are of a tool not understood.

    beside: of a file that older tools put next to config.json, {} if there is none.
    """
    for key in ("quantization_config", "quantization"):
        said = config.get(key)
        if isinstance(said, dict) and said:
            method = said.get("quant_method", "mlx" if key == "quantization" else None)
            if method is None and {"group_size", "bits"} <= set(said):  # MLX writes it there too
                method = "mlx"
            return said if method in METHODS else None
    return beside if not config.get("compression_config") else None


def collect(
    where: str, said: Mapping[str, Any], stored: dict[str, Entry]
) -> dict[str, Entry | Packed]:
    """The tensors of a folder with every packed matrix under its weight's name.

    where: config.json's path; said: as settings() gave it; stored: tensors by name.
    Raises HardcastError, naming the tensor, for parts that do not go together.
    """
    found: dict[str, Entry | Packed] = dict(stored)
    for module, (reader, ends) in _modules(stored).items():
        parts = {end: stored[f"{module}.{end}"] for end in ends if f"{module}.{end}" in stored}
        if reader is gptq.read:
            gptq.check(where, said)
        for end in parts:
            del found[f"{module}.{end}"]
        found[f"{module}.weight"] = reader(module, parts, said)
        _drop_bias_of_zeros(module, stored, found)
    _bring_together(found)
    return found


def _modules(stored: Mapping[str, Entry]) -> dict[str, tuple[Reader, tuple[str, ...]]]:
    """Every packed matrix: how it is read, and the ends of the names of its parts."""
    found: dict[str, tuple[Reader, tuple[str, ...]]] = {}
    for name, entry in stored.items():
        module, _, end = name.rpartition(".")
        if end == "qweight":
            found[module] = (gptq.read, gptq.ENDS)
        elif end == "weight_packed":
            found[module] = (compressed.read, compressed.PACKED)
        elif end == "weight" and entry.dtype == "U32" and f"{module}.scales" in stored:
            found[module] = (mlx.read, mlx.ENDS)
        elif end == "weight" and entry.dtype == "I8" and f"{module}.weight_scale" in stored:
            found[module] = (compressed.read, compressed.PLAIN)
    return found


def _drop_bias_of_zeros(
    module: str, stored: Mapping[str, Entry], found: dict[str, Entry | Packed]
) -> None:
    """Old tools gave every matrix a bias: one of zeros, of a matrix without one, is none."""
    name = f"{module}.bias"
    entry = stored.get(name)
    if entry is not None and entry.dtype == "F16" and not whole(name, entry).any():
        del found[name]


def _bring_together(found: dict[str, Entry | Packed]) -> None:
    """Undoes act-order where it can be: the columns of down_proj are rows of gate and up_proj.

    A permutation of these channels is the same model, and each group of down_proj then lies
    together. The inputs of the other matrices are the residual's, whose order is everybody's.
    """
    for name, down in list(found.items()):
        stem, end = name[: -len("down_proj.weight")], "down_proj.weight"
        above = [f"{stem}{role}.weight" for role in ("gate_proj", "up_proj")]
        packed = [found.get(other) for other in above]
        if not (name.endswith(end) and isinstance(down, Packed)):
            continue
        moved = down.in_order()
        biased = any(f"{stem}{role}.bias" in found for role in ("gate_proj", "up_proj"))
        if moved is None or biased:
            continue
        matrices = [m for m in packed if isinstance(m, Packed) and m.shape[0] == down.shape[1]]
        if len(matrices) != len(above):
            continue
        found[name], order = moved
        for other, matrix in zip(above, matrices, strict=True):
            found[other] = replace(matrix, rows=np.asarray(order))
