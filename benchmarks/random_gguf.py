"""GGUF files of a known shape whose weights are random: valid blocks, nothing quantised.

llama.cpp runs them as it runs any file of that shape and kind; only what it says is noise. As
llama-quantize does, a file has one kind for every matrix but the head, which is Q6_K or Q8_0.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from hardcast.checkpoint.config import FAMILIES, ModelConfig
from hardcast.console import Bars
from hardcast.errors import HardcastError
from hardcast.models.shapes import NamedShape


@dataclass(frozen=True)
class Kind:
    """A block type of llama.cpp: where a block's fp16 scale lies, and what random bytes mean.

    spread: standard deviation of a weight, in scales, if all other bytes are uniform.
    """

    type: gguf.GGMLQuantizationType
    scale_at: int
    spread: float

    @property
    def block(self) -> tuple[int, int]:
        """Weights and bytes of a block."""
        weights, size_bytes = gguf.GGML_QUANT_SIZES[self.type]
        return weights, size_bytes


KINDS = {
    "Q4_0": Kind(gguf.GGMLQuantizationType.Q4_0, 0, 4.6),  # d; codes -8..7
    "Q3_K": Kind(gguf.GGMLQuantizationType.Q3_K, 108, 2.3 * 18.5),  # d; -4..3 times -32..31
}
HEADS = [  # the first whose blocks fit
    Kind(gguf.GGMLQuantizationType.Q6_K, 208, 18.5 * 74),  # d; -32..31 times int8
    Kind(gguf.GGMLQuantizationType.Q8_0, 0, 74),  # d; int8
]


def kinds_of(config: ModelConfig, kind: str) -> dict[str, Kind | None]:
    """The kind of every tensor, by Hugging Face name; None is float32 (norms and biases)."""
    head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
    found: dict[str, Kind | None] = {}
    for name, shape in config.tensor_shapes().items():
        found[name] = None if len(shape) == 1 else KINDS[kind]
        if name == head:
            found[name] = next(its for its in HEADS if shape[1] % its.block[0] == 0)
    return found


def bits_per_weight(shape: NamedShape, kind: str) -> float:
    """Of the matrices of a file, scales included."""
    shapes = shape.config.tensor_shapes()
    weights = size_bits = 0
    for name, its in kinds_of(shape.config, kind).items():
        if its is not None:
            count = shapes[name][0] * shapes[name][1]
            weights += count
            size_bits += count // its.block[0] * its.block[1] * 8
    return size_bits / weights


def random_blocks(rng: np.random.Generator, shape: tuple[int, ...], kind: Kind) -> np.ndarray:
    """uint8[rows, bytes]: weights with a standard deviation of about 1/sqrt(in_features)."""
    weights, size_bytes = kind.block
    blocks = shape[1] // weights
    data = np.frombuffer(bytearray(rng.bytes(shape[0] * blocks * size_bytes)), np.uint8)
    scale = np.float16(1 / (kind.spread * shape[1] ** 0.5))
    in_blocks = data.reshape(-1, size_bytes)
    in_blocks[:, kind.scale_at : kind.scale_at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
    return data.reshape(shape[0], -1)


def write_random_gguf(path: Path, shape: NamedShape, kind: str, bars: Bars) -> None:
    """Writes the file; one tensor at a time is in memory.

    Raises HardcastError if the kind's blocks do not divide the model's rows.
    """
    config, shapes = shape.config, shape.config.tensor_shapes()
    kinds = kinds_of(config, kind)
    for name, its in kinds.items():
        if its is not None and shapes[name][1] % its.block[0]:
            raise HardcastError(
                f"{shape.name}: {name} has {shapes[name][1]} columns, {its.type.name} needs a "
                f"multiple of {its.block[0]}; choose another shape or other --kinds"
            )
    family = FAMILIES[config.architecture].gguf
    arch = next(a for a, text in gguf.MODEL_ARCH_NAMES.items() if text == family)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    writer = gguf.GGUFWriter(partial, family)
    try:
        _describe(writer, config)
        for name, its in kinds.items():
            target = names.get_name(name, try_suffixes=(".weight", ".bias"))
            dtype, size_bytes, its_type = np.dtype(np.float32), shapes[name][0] * 4, None
            if its is not None:
                dtype, its_type = np.dtype(np.float16), its.type
                size_bytes = shapes[name][0] * (shapes[name][1] // its.block[0] * its.block[1])
            writer.add_tensor_info(target, shapes[name], dtype, size_bytes, its_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        rng = np.random.default_rng(0)
        for done, (name, its) in enumerate(kinds.items()):
            bars(f"writing {path.name}", done, len(kinds))
            data = np.full(shapes[name], not name.endswith(".bias"), np.float32)
            if its is not None:
                data = random_blocks(rng, shapes[name], its)
            writer.write_tensor_data(data)
        writer.close()
        os.replace(partial, path)
        bars(f"writing {path.name}", len(kinds), len(kinds))
    finally:
        partial.unlink(missing_ok=True)


def _describe(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    """The metadata that llama.cpp needs; no tokenizer, since llama-bench draws token ids."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
