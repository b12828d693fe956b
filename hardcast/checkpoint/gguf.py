"""GGUF checkpoints: llama.cpp's names, types and row order become Hugging Face's here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hardcast.checkpoint.base import Grid, GridForm, check_finite, check_tensors, read_bytes
from hardcast.checkpoint.config import FAMILIES
from hardcast.checkpoint.gguf_blocks import GRIDS, can_dequantize, dequantize
from hardcast.checkpoint.gguf_config import model_config
from hardcast.checkpoint.gguf_header import TensorEntry, read_header
from hardcast.checkpoint.rope.gguf import ROPE_TENSORS
from hardcast.errors import HardcastError

TOKENS = "tokenizer.ggml.tokens"
TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# The norm before the MLP: its name tells whether one stands behind attention too.
BEFORE_MLP, BETWEEN, BEFORE = "ffn_norm", "post_attention_layernorm", "pre_feedforward_layernorm"
FUSED = {"ffn_up": "mlp.gate_up_proj"}  # of families that store them as one
BIAS_NAMES = {full.rpartition(".")[2]: f"{name}.bias" for name, full in LAYER_NAMES.items()}


class GgufCheckpoint:
    """A .gguf file; see base.Checkpoint for what each method gives."""

    def __init__(self, path: str | Path) -> None:
        """Reads and checks the header; raises HardcastError (see read_header, check_tensors)."""
        self.path = Path(path)
        header = read_header(self.path)
        self.metadata = header.metadata
        self.config, self.notes = model_config(self.path, header, BIAS_NAMES)
        family = FAMILIES[self.config.architecture]
        before_mlp = BEFORE if BEFORE in family.norms else BETWEEN
        names = {**LAYER_NAMES, BEFORE_MLP: before_mlp, **(FUSED if family.fused else {})}
        self._entries = {_hf_name(name, names): entry for name, entry in header.tensors.items()}
        found = {name: entry.shape for name, entry in self._entries.items()}
        check_tensors(self.path, self.config, found, ignored=ROPE_TENSORS)
        self._names = list(self.config.stored_shapes())
        for name in self._names:
            kind = self._entries[name].type_name
            if not can_dequantize(kind):
                raise HardcastError(
                    f"{path}: tensor {name} has type {kind}, which the gguf package here cannot "
                    f"dequantize; try: pip install -U gguf"
                )

    def names(self) -> list[str]:
        """Every tensor under its Hugging Face name."""
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """[out_features, in_features], or [size] of a vector."""
        return self._entry(name).shape

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        """float32, dequantized by the gguf package; finite or HardcastError."""
        entry = self._entry(name)
        values = dequantize(self._stored(name, rows), entry.type_name)
        order = self._row_order(name)
        if order is not None and values.ndim == 1:  # a bias has a row's one value, not its bytes
            values = values[order]
        check_finite(self.path, name, values)
        return values

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """Codes, scales and minima exactly as stored; the rows in Hugging Face's order."""
        if self.grid_form(name) is None:
            return None
        with np.errstate(all="ignore"):  # check_finite names what is no number
            grid = GRIDS[self._entry(name).type_name].read(self._stored(name, rows))
        for part in (grid.scale, grid.minimum):
            if part is not None:
                check_finite(self.path, f"{name} (scales)", part)
        return grid

    def grid_form(self, name: str) -> GridForm | None:
        """By the tensor's type."""
        known = GRIDS.get(self._entry(name).type_name)
        return known.form if known and len(self.shape(name)) == 2 else None

    def tokenizer_source(self) -> dict[str, Any]:
        """The tokenizer's part of the metadata; an empty token has the name llama.cpp gives it."""
        tokenizer = {k: v for k, v in self.metadata.items() if k.startswith("tokenizer.")}
        tokens = tokenizer.get(TOKENS)
        if isinstance(tokens, list) and "" in tokens:
            tokenizer[TOKENS] = [
                f"[EMPTY_{index}]" if token == "" else token for index, token in enumerate(tokens)
            ]
        return {"kind": "gguf", "path": str(self.path), "metadata": tokenizer}

    def _entry(self, name: str) -> TensorEntry:
        if name not in self._entries:
            raise HardcastError(f"{self.path}: there is no tensor {name}")
        return self._entries[name]

    def _stored(self, name: str, rows: slice | None) -> np.ndarray:
        """uint8[rows, bytes a row] as stored, in Hugging Face's row order; a vector is one row."""
        entry = self._entry(name)
        count = entry.shape[0] if len(entry.shape) > 1 else 1
        row_bytes = entry.size_bytes // count
        start, stop, _ = (rows or slice(None)).indices(count)
        order = self._row_order(name)
        if order is None or len(entry.shape) == 1:
            size = max(0, stop - start) * row_bytes
            data = read_bytes(self.path, name, entry.offset + start * row_bytes, size)
            data = data.reshape(-1, row_bytes)
        else:
            whole = read_bytes(self.path, name, entry.offset, entry.size_bytes)
            data = whole.reshape(count, row_bytes)[order[start:stop]]
        return data if len(entry.shape) > 1 else data.reshape(-1)

    def _row_order(self, name: str) -> np.ndarray | None:
        """int64[out_features]: the stored row of each Hugging Face row, or None if the same.

        llama.cpp rotates neighbours (2i, 2i + 1) where Hugging Face rotates (i, i + head_dim/2),
        so for interleaved families its converter moved the rows of Q and K.
        """
        if not FAMILIES[self.config.architecture].gguf_interleaved:
            return None
        if not name.endswith(("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")):
            return None
        half = self.config.head_dim // 2
        rows = np.arange(self._entry(name).shape[0]).reshape(-1, half, 2)
        return rows.swapaxes(1, 2).reshape(-1)


def _hf_name(name: str, layer_names: dict[str, str]) -> str:
    """Hugging Face's name of a GGUF tensor; an unknown name stays as it is."""
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in layer_names:
        return f"model.layers.{parts[1]}.{layer_names[parts[2]]}.{parts[3]}"
    return name
