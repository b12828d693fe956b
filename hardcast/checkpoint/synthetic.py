"""A checkpoint that is drawn instead of read: a model of any size with seeded random weights.

For capacity and speed: nothing is downloaded, and nothing but the rows just asked for is in
memory. The weights mean nothing; their number, shapes and spread are those of the model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.checkpoint.base import Grid, GridForm
from hardcast.checkpoint.config import ModelConfig
from hardcast.errors import HardcastError

TABLE_SIZE = 1 << 22  # normals drawn once; a row is the sum of two seeded windows of them
BYTES_A_NORMAL = 16  # uniform bytes whose sum looks Gaussian, out to 6.9 standard deviations
BYTE_TOKENS = 256
EOS = BYTE_TOKENS  # id of the only special token
NORMAL, CONTROL = 1, 3  # tokenizer.ggml.token_type


class SyntheticCheckpoint:
    """A Checkpoint (see base.py) of `config` with random weights; attributes as in Checkpoint.

    name: what errors and the image call it (a key of models/shapes.toml). seed: of every weight.
    layers: keep only so many of the model's layers; None keeps all.

    Matrices are normal with a standard deviation of 1/sqrt(in_features), so that activations keep
    their size; norm gains are 1; biases are as a row of that many weights. A row depends on the
    seed, its tensor's name and its index alone, whatever rows are asked for together, and only
    integer and IEEE float32 arithmetic is used: the same weights on every machine.

    Raises HardcastError for layers outside the model's and a vocabulary without room for bytes.
    """

    def __init__(
        self, name: str, config: ModelConfig, seed: int = 0, layers: int | None = None
    ) -> None:
        if layers is not None:
            if not 1 <= layers <= config.num_hidden_layers:
                raise HardcastError(
                    f"{name}: {layers} layers asked for, the model has 1 to "
                    f"{config.num_hidden_layers}"
                )
            config = dataclasses.replace(config, num_hidden_layers=layers)
        if config.vocab_size <= EOS:
            raise HardcastError(
                f"{name}: a vocabulary of {config.vocab_size} has no room for {EOS + 1} tokens: "
                f"every byte and an end"
            )
        self.path = Path(name)
        self.config = config
        self.notes: list[str] = []
        self.seed = seed
        self._shapes = config.tensor_shapes()

    def names(self) -> list[str]:
        """Every tensor of the model, in the order of the forward pass."""
        return list(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        if name not in self._shapes:
            raise HardcastError(f"{self.path}: there is no tensor {name}")
        return self._shapes[name]

    def tensor(self, name: str, rows: slice | None = None) -> np.ndarray:
        """float32[shape], or only some of its rows."""
        shape = self.shape(name)
        asked = slice(None) if rows is None else rows
        if name.endswith(".bias"):
            return self._draw(name, (1, *shape), slice(None))[0][asked]
        if len(shape) == 1:
            return np.ones(shape, np.float32)[asked]
        return self._draw(name, shape, asked)

    def grid(self, name: str, rows: slice | None = None) -> Grid | None:
        """None: the weights lie on no grid."""
        return None

    def grid_form(self, name: str) -> GridForm | None:
        """None, as grid."""
        return None

    def tokenizer_source(self) -> dict[str, Any]:
        """A byte-level BPE without merges: a token a byte, an end, then words of digits.

        Any text can be encoded, and whatever the chip makes of it can be printed.
        """
        letters = [*_byte_letters(), "<|endoftext|>"]
        space = letters[ord(" ")]
        words = [f"{space}{token}" for token in range(len(letters), self.config.vocab_size)]
        types = [NORMAL] * BYTE_TOKENS + [CONTROL] + [NORMAL] * len(words)
        metadata = {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "gpt-2",
            "tokenizer.ggml.tokens": letters + words,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.eos_token_id": EOS,
        }
        return {"kind": "gguf", "path": str(self.path), "metadata": metadata}

    @cached_property
    def _table(self) -> np.ndarray:
        """Whole numbers as float32[TABLE_SIZE] whose variance is BYTES_A_NORMAL * (2^16 - 1) / 12.

        At least twice as many as the widest row is long, so that every row has many windows.
        """
        widest = max(shape[-1] for shape in self._shapes.values())
        size = max(TABLE_SIZE, 2 * widest)
        words = self._random("normals", size * BYTES_A_NORMAL // 8).astype("<u8", copy=False)
        uniform = words.view(np.uint8).reshape(size, BYTES_A_NORMAL)
        middle = BYTES_A_NORMAL * 255 // 2
        return (uniform.sum(axis=1, dtype=np.int32) - middle).astype(np.float32)

    def _random(self, what: str, count: int) -> np.ndarray:
        """uint64[count] of the seed's own stream for `what`."""
        key = hashlib.sha256(f"{self.seed}/{what}".encode()).digest()[:16]
        generator = np.random.Philox(key=int.from_bytes(key, "little"))
        return np.asarray(generator.random_raw(count), np.uint64)

    def _draw(self, name: str, shape: tuple[int, ...], rows: slice) -> np.ndarray:
        """float32[rows, columns] of a matrix of `shape`."""
        count, columns = shape
        windows = np.lib.stride_tricks.sliding_window_view(self._table, columns)
        starts = self._random(name, 2 * count).reshape(count, 2)[rows] % np.uint64(len(windows))
        variance = 2 * BYTES_A_NORMAL * ((1 << 16) - 1) / 12  # of a sum of two
        result = windows[starts[:, 0]]
        result += windows[starts[:, 1]]
        result *= np.float32(1 / math.sqrt(variance * columns))
        return result


def _byte_letters() -> list[str]:
    """GPT-2's letter of each byte: itself where it prints, else one from 256 upwards."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(BYTE_TOKENS)]
