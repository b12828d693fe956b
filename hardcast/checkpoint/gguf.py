"""GGUF checkpoints: llama.cpp's names, types and row order become Hugging Face's here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hardcast.checkpoint.base import Grid, check_finite, check_tensors, read_bytes
from hardcast.checkpoint.config import FAMILIES, Fields, ModelConfig, unsupported
from hardcast.checkpoint.gguf_blocks import GRIDS, can_dequantize, dequantize
from hardcast.checkpoint.gguf_header import Header, TensorEntry, read_header
from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling

TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ROPE_FACTORS = "rope_freqs.weight"


class GgufCheckpoint:
    """A .gguf file; see base.Checkpoint for what each method gives."""

    def __init__(self, path: str | Path) -> None:
        """Reads and checks the header; raises HardcastError (see read_header, check_tensors)."""
        self.path = Path(path)
        header = read_header(self.path)
        self.metadata = header.metadata
        self._entries = {_hf_name(name): entry for name, entry in header.tensors.items()}
        self.config = _config(self.path, header)
        found = {name: entry.shape for name, entry in self._entries.items()}
        check_tensors(self.path, self.config, found, ignored=(ROPE_FACTORS,))
        self._names = list(self.config.tensor_shapes())
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
        check_finite(self.path, name, values)
        return values

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """Codes, scales and minima exactly as stored; the rows in Hugging Face's order."""
        kind = self._entry(name).type_name
        if kind not in GRIDS or len(self.shape(name)) != 2:
            return None
        grid = GRIDS[kind](self._stored(name, rows))
        for part in (grid.scale, grid.minimum):
            if part is not None:
                check_finite(self.path, f"{name} (scales)", part)
        return grid

    def tokenizer_source(self) -> dict[str, Any]:
        """The tokenizer's part of the metadata."""
        tokenizer = {k: v for k, v in self.metadata.items() if k.startswith("tokenizer.")}
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
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return None
        half = self.config.head_dim // 2
        rows = np.arange(self._entry(name).shape[0]).reshape(-1, half, 2)
        return rows.swapaxes(1, 2).reshape(-1)


def _hf_name(name: str) -> str:
    """Hugging Face's name of a GGUF tensor; an unknown name stays as it is."""
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in LAYER_NAMES:
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.{parts[3]}"
    return name


def _config(path: Path, header: Header) -> ModelConfig:
    where = str(path)
    found = Fields(where, header.metadata).text("general.architecture")
    architecture = next((name for name, family in FAMILIES.items() if family.gguf == found), None)
    if architecture is None:
        raise unsupported(where, found)
    if Fields(where, header.metadata).integer("split.count", 1) > 1:
        raise HardcastError(
            f"{path}: one part of several; join them first with: llama-gguf-split --merge"
        )
    prefix = found + "."
    fields = Fields(
        f"{where} (metadata {prefix}*)",
        {k.removeprefix(prefix): v for k, v in header.metadata.items() if k.startswith(prefix)},
    )
    if fields.integer("expert_count", 0):
        raise HardcastError(f"{path}: mixture-of-experts models are not supported")
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None:
        raise HardcastError(f"{path}: tensor token_embd.weight is missing")
    heads, hidden_size = fields.integer("attention.head_count"), fields.integer("embedding_length")
    head_dim = fields.integer("attention.key_length", hidden_size // max(heads, 1))
    for name in ("attention.value_length", "rope.dimension_count"):
        if fields.integer(name, head_dim) != head_dim:
            raise HardcastError(
                f"{path}: {prefix}{name} is {fields.integer(name)} and head_dim {head_dim}; "
                f"only models where they are equal are supported"
            )
    config = ModelConfig(
        architecture=architecture,
        hidden_size=hidden_size,
        intermediate_size=fields.integer("feed_forward_length"),
        num_hidden_layers=fields.integer("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=fields.integer("attention.head_count_kv", heads),
        head_dim=head_dim,
        vocab_size=embedding.shape[0],
        max_position_embeddings=fields.integer("context_length"),
        rms_norm_eps=_shortest(fields.number("attention.layer_norm_rms_epsilon")),
        rope_theta=_shortest(fields.number("rope.freq_base", 10000.0)),
        rope_scaling=_rope_scaling(path, header, fields),
        tie_word_embeddings="output.weight" not in header.tensors,
        sliding_window=fields.integer("attention.sliding_window", 0) or None,
    )
    config.check(where)
    return config


def _shortest(value: float) -> float:
    """The shortest decimal that the file's float32 stands for: 1e-5, not 9.999999747378752e-06."""
    with np.errstate(over="ignore"):  # an infinity is refused by ModelConfig.check
        return float(str(np.float32(value)))


def _rope_scaling(path: Path, header: Header, fields: Fields) -> RopeScaling | None:
    kind = fields.text("rope.scaling.type", "none")
    if ROPE_FACTORS in header.tensors:
        entry = header.tensors[ROPE_FACTORS]
        data = read_bytes(path, ROPE_FACTORS, entry.offset, entry.size_bytes)
        if entry.type_name != "F32" or len(entry.shape) != 1:
            raise HardcastError(f"{path}: tensor {ROPE_FACTORS} is no float32 vector")
        factors = data.view("<f4")
        check_finite(path, ROPE_FACTORS, factors)
        head_dim = fields.integer(
            "attention.key_length",
            fields.integer("embedding_length") // max(fields.integer("attention.head_count"), 1),
        )
        if factors.size != head_dim // 2 or factors.min() <= 0:
            raise HardcastError(
                f"{path}: tensor {ROPE_FACTORS} must hold {head_dim // 2} factors above 0"
            )
        return RopeScaling(kind="factors", factors=tuple(factors.astype(float).tolist()))
    if kind == "none":
        return None
    if kind != "linear":
        raise HardcastError(
            f"{path}: RoPE scaling {kind!r:.40} is not supported; supported are none and linear"
        )
    factor = _shortest(fields.number("rope.scaling.factor"))
    if not 1 <= factor <= 1e6:
        raise HardcastError(f"{path}: RoPE scaling factor is {factor}, expected 1 to 1000000")
    return RopeScaling(kind="linear", factor=factor)
