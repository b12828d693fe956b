"""Safetensors checkpoints: a folder with config.json and one file, or shards and their index.

Which file counts, which of two names a shared matrix has and what stands for what is settled as
transformers does it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.checkpoint import foreign, packings
from hardcast.checkpoint.base import (
    Grid,
    GridForm,
    check_finite,
    check_tensors,
    read_bytes,
    read_json,
)
from hardcast.checkpoint.config import FAMILIES, ModelConfig
from hardcast.checkpoint.hf_config import IMAGES_TOO, model_config
from hardcast.checkpoint.hf_tokenizer import hf_tokenizer_source
from hardcast.checkpoint.packings import Packed
from hardcast.checkpoint.safetensors_header import ITEM_BYTES, Entry, read_header
from hardcast.errors import HardcastError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
BASE, BASE_NAMES = "model.", ("embed_tokens.", "layers.", "norm.")  # a base model lacks the prefix
# Beside a vision model; transformers 4 and 5 put "model." in one place and in the other.
OF_IMAGES = tuple(
    f"{prefix}{part}"
    for prefix in ("", BASE)
    for part in ("vision_tower.", "multi_modal_projector.")
)
OF_LANGUAGE = {"language_model.": "", "model.language_model.": BASE}
PIECE_WEIGHTS = 1 << 22  # compared at a time
BUFFER_ENDS = (".rotary_emb.inv_freq", ".masked_bias", ".attn.bias")  # old exports keep these


class SafetensorsCheckpoint:
    """A folder in Hugging Face's form; see base.Checkpoint for what each method gives."""

    def __init__(self, path: str | Path) -> None:
        """Reads config.json and every header; raises HardcastError.

        No weight is read yet, but where both names of a tied matrix are stored: these are compared.
        """
        self.path = Path(path)
        config_path = self.path / "config.json"
        if not config_path.is_file():
            raise foreign.no_config(self.path)
        self._raw_config = read_json(config_path)
        as_stored = _entries(self.path)
        stored = self._unpacked(as_stored)
        if self._raw_config.get("model_type") == IMAGES_TOO:
            stored = _language_model(stored)
        self._entries = {_full_name(name, stored): entry for name, entry in stored.items()}
        has_head, is_base = HEAD in stored, set(stored) != set(self._entries)
        # Without a word in config.json a missing head says that it is tied, unless it is missing
        # because a base model was saved.
        config, self.notes = model_config(
            str(config_path), self._raw_config, not has_head and not is_base
        )
        self.notes += foreign.notes(self.path)
        apart = [e for e in self._entries.values() if isinstance(e, Packed) and not e.form]
        if apart:
            self.notes.append(
                f"{self.path}: {len(apart)} matrices are in act-order, a group's columns apart: "
                f"their grid cannot be kept, they are rounded anew"
            )
        self._one_plus = FAMILIES[config.architecture].one_plus
        self.config = self._settle_head(config)
        for name in set(self.config.tensor_shapes()) & set(as_stored) - set(self._entries):
            self._entries[name] = as_stored[name]  # a bias of zeros that is the model's own
        found = {name: entry.shape for name, entry in self._entries.items()}
        ignored = [name for name in found if name.endswith(BUFFER_ENDS)]
        check_tensors(self.path, self.config, found, ignored)
        self._names = list(self.config.stored_shapes())
        for name in self._names:
            entry = self._entries[name]
            if isinstance(entry, Entry) and entry.dtype not in ITEM_BYTES:
                raise HardcastError(
                    f"{entry.path}: tensor {name} has dtype {entry.dtype}; supported are "
                    f"{', '.join(ITEM_BYTES)}"
                )

    def names(self) -> list[str]:
        """Every tensor of the model."""
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """[out_features, in_features], or [size] of a vector."""
        return self._entry(name).shape

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        """float32; finite or HardcastError."""
        entry = self._entry(name)
        if isinstance(entry, Packed):
            return entry.tensor(rows or slice(None))
        start, stop, _ = (rows or slice(None)).indices(entry.shape[0])
        row_bytes = entry.size_bytes // entry.shape[0]
        size = max(0, stop - start) * row_bytes
        data = read_bytes(entry.path, name, entry.offset + start * row_bytes, size)
        values = _to_float32(data, entry.dtype).reshape(-1, *entry.shape[1:])
        check_finite(entry.path, name, values)
        if self._one_plus and values.ndim == 1 and name.endswith("norm.weight"):
            values = np.float32(1) + values
        return values

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """Of a matrix that another tool packed (packings/), codes as they are."""
        entry = self._entry(name)
        return entry.grid(rows or slice(None)) if isinstance(entry, Packed) else None

    def grid_form(self, name: str) -> GridForm | None:
        """As grid."""
        entry = self._entry(name)
        return entry.form if isinstance(entry, Packed) else None

    def tokenizer_source(self) -> dict[str, Any]:
        """The folder's tokenizer files; see hf_tokenizer.py."""
        return hf_tokenizer_source(self.path, self._raw_config)

    def _unpacked(self, stored: dict[str, Entry]) -> dict[str, Entry | Packed]:
        """The tensors with packed matrices under their weights' names; refuses other packings."""
        where, config = self.path / "config.json", self._raw_config
        said = packings.settings(config, foreign.settings_beside(self.path))
        found = dict[str, Entry | Packed](stored)
        if said is not None:
            found = packings.collect(str(where), said, stored)
        if found.keys() == stored.keys() or foreign.tool_of(found) is not None:
            foreign.refuse_quantized(where, config, list(found))
        return found

    def _entry(self, name: str) -> Entry | Packed:
        if name not in self._entries:
            raise HardcastError(f"{self.path}: there is no tensor {name}")
        return self._entries[name]

    def _settle_head(self, config: ModelConfig) -> ModelConfig:
        """Leaves a tied matrix under the embedding's name; unties what is stored as two."""
        entries = self._entries
        if not config.tie_word_embeddings:
            if EMBEDDING in entries and HEAD not in entries:
                raise HardcastError(
                    f"{self.path}: tensor {HEAD} is missing, the head, and tie_word_embeddings is "
                    f"not true; save the model with its head (AutoModelForCausalLM), or set "
                    f"tie_word_embeddings if the embedding is the head"
                )
            return config
        if HEAD not in entries:
            if self._raw_config.get("tie_word_embeddings") is None:
                self.notes.append(
                    f"{self.path}: there is no {HEAD} and config.json does not say that it is "
                    f"tied: the embedding is taken as the head"
                )
            return config
        if EMBEDDING not in entries:
            entries[EMBEDDING] = entries.pop(HEAD)
        elif self._equal(EMBEDDING, HEAD):
            del entries[HEAD]
        else:
            self.notes.append(
                f"{self.path}: tie_word_embeddings is true, but {EMBEDDING} and {HEAD} differ: "
                f"each is used, as transformers does"
            )
            return dataclasses.replace(config, tie_word_embeddings=False)
        return config

    def _equal(self, one: str, other: str) -> bool:
        """Whether two matrices hold the same numbers, read a piece at a time."""
        shape = self.shape(one)
        types = {self._entry(one).dtype, self._entry(other).dtype}
        if shape != self.shape(other) or len(shape) != 2 or not types <= set(ITEM_BYTES):
            return False
        step = max(PIECE_WEIGHTS // max(shape[1], 1), 1)
        pieces = (slice(first, first + step) for first in range(0, shape[0], step))
        return all(np.array_equal(self.tensor(one, p), self.tensor(other, p)) for p in pieces)


def _language_model(stored: dict[str, Entry | Packed]) -> dict[str, Entry | Packed]:
    """The tensors of a model that reads images too, without those that do, by their plain names."""
    found = {}
    for name, entry in stored.items():
        if not name.startswith(OF_IMAGES):
            inner = next((n for n in OF_LANGUAGE if name.startswith(n)), "")
            found[OF_LANGUAGE.get(inner, "") + name.removeprefix(inner)] = entry
    return found


def _full_name(name: str, stored: dict[str, Entry | Packed]) -> str:
    """A tensor's name in the whole model: a base model is saved without its prefix."""
    full = BASE + name
    return full if name.startswith(BASE_NAMES) and full not in stored else name


def _entries(folder: Path) -> dict[str, Entry]:
    """Every tensor of the folder's one file, or of its shards.

    model.safetensors goes before an index, as in transformers: an index beside it is left over
    from an earlier save.
    """
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if (folder / INDEX).is_file():
        return _sharded(folder)
    others = foreign.own_weights(folder)
    if len(others) == 1:
        return read_header(others[0])
    if others:
        raise HardcastError(f"{folder / INDEX}: not found; it says which shard holds what")
    raise foreign.no_weights(folder / SINGLE)


def _sharded(folder: Path) -> dict[str, Entry]:
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        raise HardcastError(f"{folder / INDEX}: has no weight_map")
    entries: dict[str, Entry] = {}
    headers: dict[str, dict[str, Entry]] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard or shard in ("", ".", ".."):
            raise HardcastError(f"{folder / INDEX}: {shard!r:.60} is no file name of a shard")
        if shard not in headers:
            if not (folder / shard).is_file():
                raise HardcastError(f"{folder / shard}: this shard is missing; fetch it again")
            headers[shard] = read_header(folder / shard)
        if name not in headers[shard]:
            raise HardcastError(f"{folder / shard}: tensor {name} is missing from this shard")
        entries[name] = headers[shard][name]
    return entries


def _to_float32(data: np.ndarray, dtype: str) -> np.ndarray:
    """uint8[bytes] to float32[values]; bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]
    with np.errstate(over="ignore"):  # an F64 beyond float32 becomes infinite and is refused
        return data.view(kind).astype(np.float32, copy=False)
