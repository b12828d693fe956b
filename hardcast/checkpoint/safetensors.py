"""Safetensors checkpoints: a folder with config.json and one file, or shards and their index.

Layout of a file: uint64 length of the header; the header, JSON of name -> {dtype, shape,
data_offsets}; the data. The header is parsed here because NumPy has no bfloat16 and because every
number in it is held against the file's size before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.checkpoint.base import (
    Grid,
    check_finite,
    check_tensors,
    json_object,
    read_bytes,
    read_json,
)
from hardcast.checkpoint.hf_config import model_config
from hardcast.errors import HardcastError

HEADER_LIMIT_BYTES = 100_000_000  # the format's own limit
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
HEAD = "lm_head.weight"
BUFFER_ENDS = (".rotary_emb.inv_freq", ".masked_bias", ".attn.bias")  # old exports keep these


@dataclass(frozen=True)
class _Entry:
    """Where a tensor's data lie. shape: as stored, outermost first. dtype: the format's name."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


class SafetensorsCheckpoint:
    """A folder in Hugging Face's form; see base.Checkpoint for what each method gives."""

    def __init__(self, path: str | Path) -> None:
        """Reads config.json and every header; raises HardcastError, no weight is read yet."""
        self.path = Path(path)
        config_path = self.path / "config.json"
        self._raw_config = read_json(config_path)
        self._entries = _entries(self.path)
        self.config = model_config(str(config_path), self._raw_config, HEAD in self._entries)
        found = {name: entry.shape for name, entry in self._entries.items()}
        ignored = [name for name in found if name.endswith(BUFFER_ENDS)]
        if self.config.tie_word_embeddings:
            ignored.append(HEAD)  # some exports store the tied matrix twice
        check_tensors(self.path, self.config, found, ignored)
        self._names = list(self.config.tensor_shapes())
        for name in self._names:
            entry = self._entries[name]
            if entry.dtype not in ITEM_BYTES:
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
        start, stop, _ = (rows or slice(None)).indices(entry.shape[0])
        row_bytes = entry.size_bytes // entry.shape[0]
        size = max(0, stop - start) * row_bytes
        data = read_bytes(entry.path, name, entry.offset + start * row_bytes, size)
        values = _to_float32(data, entry.dtype).reshape(-1, *entry.shape[1:])
        check_finite(entry.path, name, values)
        return values

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """None: nothing in this format is an integer grid."""
        self._entry(name)
        return None

    def tokenizer_source(self) -> dict[str, Any]:
        """tokenizer.json as text, and what the small JSON files beside it say about it."""
        tokenizer = self.path / "tokenizer.json"
        if not tokenizer.is_file():
            raise HardcastError(
                f"{tokenizer}: not found; write one with: AutoTokenizer.from_pretrained(folder)"
                f".save_pretrained(folder)"
            )
        read_json(tokenizer)  # size and form
        config = self._optional_json("tokenizer_config.json")
        template = self.path / "chat_template.jinja"
        if template.is_file():
            config = {**config, "chat_template": template.read_text("utf-8", "replace")}
        generation = self._optional_json("generation_config.json")
        keys = ("bos_token_id", "eos_token_id")
        return {
            "kind": "hf",
            "path": str(tokenizer),
            "tokenizer_json": tokenizer.read_text("utf-8", "replace"),
            "tokenizer_config": config,
            "config": {key: self._raw_config.get(key) for key in keys},
            "generation_config": {key: generation.get(key) for key in keys},
        }

    def _optional_json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        return read_json(path) if path.is_file() else {}

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise HardcastError(f"{self.path}: there is no tensor {name}")
        return self._entries[name]


def _entries(folder: Path) -> dict[str, _Entry]:
    """Every tensor of the folder's one file or of its shards."""
    if (folder / INDEX).is_file():
        return _sharded(folder)
    single = folder / SINGLE
    if not single.is_file():
        others = sorted(folder.glob("*.safetensors"))
        if len(others) == 1:
            single = others[0]
        elif others:
            raise HardcastError(f"{folder / INDEX}: not found; it says which shard holds what")
        elif any(folder.glob("*.bin")):
            raise HardcastError(
                f"{folder}: only pickled weights (.bin), which are never loaded; convert them "
                f"with transformers: save_pretrained(folder, safe_serialization=True)"
            )
        else:
            raise HardcastError(f"{single}: not found; a model's folder needs it")
    return _read_header(single)


def _sharded(folder: Path) -> dict[str, _Entry]:
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        raise HardcastError(f"{folder / INDEX}: has no weight_map")
    entries: dict[str, _Entry] = {}
    headers: dict[str, dict[str, _Entry]] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard or shard in ("", ".", ".."):
            raise HardcastError(f"{folder / INDEX}: {shard!r:.60} is no file name of a shard")
        if shard not in headers:
            if not (folder / shard).is_file():
                raise HardcastError(f"{folder / shard}: this shard is missing; fetch it again")
            headers[shard] = _read_header(folder / shard)
        if name not in headers[shard]:
            raise HardcastError(f"{folder / shard}: tensor {name} is missing from this shard")
        entries[name] = headers[shard][name]
    return entries


def _read_header(path: Path) -> dict[str, _Entry]:
    """Parses and checks one file's header; every tensor lies within the file."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size_bytes < 8 or length > min(size_bytes - 8, HEADER_LIMIT_BYTES):
                raise HardcastError(
                    f"{path}: a header of {length} bytes cannot be in a file of {size_bytes}: "
                    f"it is truncated or no safetensors file"
                )
            header = json_object(file.read(length), f"{path} (header)")
    except OSError as error:
        raise HardcastError(f"{path}: cannot be read: {error.strerror}") from None
    header.pop("__metadata__", None)
    start = 8 + length
    return {name: _entry(path, name, value, start, size_bytes) for name, value in header.items()}


def _entry(path: Path, name: str, value: Any, start: int, file_bytes: int) -> _Entry:
    where = f"{path}: tensor {name[:80]!r}"
    try:
        dtype, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise HardcastError(f"{where}: its header entry is malformed") from None
    sizes = (*shape[:8], begin, end)
    if len(shape) > 8 or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in sizes
    ):
        raise HardcastError(f"{where}: its shape or offsets are no whole numbers")
    if not begin <= end <= file_bytes - start:
        raise HardcastError(
            f"{where}: ends at byte {start + end}, past the end of the file at {file_bytes}: "
            f"it is truncated or damaged, fetch it again"
        )
    size_bytes = ITEM_BYTES.get(dtype, 0) if isinstance(dtype, str) else 0
    for size in shape:
        size_bytes *= size
    if size_bytes and size_bytes != end - begin:
        raise HardcastError(f"{where}: {end - begin} bytes for {dtype} of shape {list(shape)}")
    return _Entry(path, str(dtype)[:20], shape, start + begin, end - begin)


def _to_float32(data: np.ndarray, dtype: str) -> np.ndarray:
    """uint8[bytes] to float32[values]; bfloat16 is the upper half of a float32."""
    if dtype == "BF16":
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]
    with np.errstate(over="ignore"):  # an F64 beyond float32 becomes infinite and is refused
        return data.view(kind).astype(np.float32, copy=False)
