"""The metadata of a GGUF file into a ModelConfig, as llama.cpp reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardcast.checkpoint.config import (
    FAMILIES,
    LAYER_LIMIT,
    Family,
    Fields,
    Layer,
    LocalRope,
    ModelConfig,
    unsupported,
)
from hardcast.checkpoint.gguf_header import Header
from hardcast.checkpoint.keys import check_keys, unknown_note
from hardcast.checkpoint.local_layers import LOCAL_THETA, PATTERN, alternating
from hardcast.checkpoint.rope.gguf import rope_scaling, shortest
from hardcast.errors import HardcastError

GEMMA_27B_LAYERS = 62


def model_config(
    path: Path, header: Header, bias_names: dict[str, str]
) -> tuple[ModelConfig, list[str]]:
    """Reads the metadata. Returns the config and notes for the user, a line each.

    bias_names: matrix of a layer ("o_proj") -> the end of its bias's name in the file.
    Raises HardcastError for a missing or absurd entry and for any feature that the forward pass
    of the family does not have; what nobody knows is named in a note.
    """
    where = str(path)
    everything = Fields(where, header.metadata)
    found = everything.text("general.architecture")
    architecture = next((name for name, family in FAMILIES.items() if family.gguf == found), None)
    _refuse_parts(everything)
    if architecture is None:
        raise unsupported(where, found)
    family = FAMILIES[architecture]
    prefix = found + "."
    where = f"{where} (metadata {prefix}*)"
    values = {k.removeprefix(prefix): v for k, v in header.metadata.items() if k.startswith(prefix)}
    fields = Fields(where, {key: _same_in_every_layer(value) for key, value in values.items()})
    if fields.integer("expert_count", 0):
        raise HardcastError(f"{path}: mixture-of-experts models are not supported")
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None:
        raise HardcastError(f"{path}: tensor token_embd.weight is missing")
    heads, hidden_size = fields.integer("attention.head_count"), fields.integer("embedding_length")
    head_dim = fields.integer("attention.key_length", hidden_size // max(heads, 1))
    rotary = fields.integer("rope.dimension_count", head_dim)
    for name in ("attention.value_length", *(() if family.partial else ("rope.dimension_count",))):
        if fields.integer(name, head_dim) != head_dim:
            raise HardcastError(
                f"{path}: {prefix}{name} is {fields.integer(name)} and head_dim {head_dim}; "
                f"only models where they are equal are supported"
            )
    theta = shortest(fields.number("rope.freq_base", 10000.0))
    window = fields.integer("attention.sliding_window", 0) or None
    layers: tuple[Layer, ...] = ()
    local_rope, local_theta = None, theta
    if family.local_layers and window is not None:
        layers = alternating(_layers(path, fields), window, _pattern(path, fields))
        local_theta = shortest(fields.number("rope.freq_base_swa", LOCAL_THETA))
        local_rope, window = LocalRope(local_theta), None
    elif family.unturned:
        layers, window = _unturned(_layers(path, fields), window), None
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
        rms_norm_eps=shortest(fields.number("attention.layer_norm_rms_epsilon")),
        rope_theta=theta,
        rope_scaling=rope_scaling(path, header, fields, rotary),
        tie_word_embeddings="output.weight" not in header.tensors,
        sliding_window=window,
        biases=_biases(header, family, bias_names),
        layers=layers,
        local_rope=local_rope,
        query_pre_attn_scalar=_query_scale(fields, family, hidden_size, heads, head_dim),
        rotary_dim=None if rotary == head_dim else rotary,
    )
    config.check(str(path))
    scale = config.query_pre_attn_scalar or head_dim
    neutral: dict[str, Any] = {"attention.scale": scale**-0.5, "rope.freq_base_swa": local_theta}
    if local_rope is not None:
        neutral["attention.sliding_window_pattern"] = values.get("attention.sliding_window_pattern")
    neutral["embedding_length_out"] = hidden_size
    unknown = check_keys("gguf", where, values, neutral)
    return config, [unknown_note(where, unknown)] if unknown else []


def _layers(path: Path, fields: Fields) -> int:
    count = fields.integer("block_count")
    if not 1 <= count <= LAYER_LIMIT:
        raise HardcastError(f"{path}: num_hidden_layers is {count}, expected 1 to {LAYER_LIMIT}")
    return count


def _pattern(path: Path, fields: Fields) -> int:
    """Every how manieth layer is global."""
    pattern = fields.integer("attention.sliding_window_pattern", PATTERN)
    if pattern < 1:
        raise HardcastError(f"{path}: attention.sliding_window_pattern is {pattern}")
    return pattern


def _query_scale(
    fields: Fields, family: Family, hidden_size: int, heads: int, head_dim: int
) -> float | None:
    """llama.cpp knows Gemma 3 27B, whose scores have a scale of their own, by its layers."""
    if not family.local_layers or fields.integer("block_count") != GEMMA_27B_LAYERS:
        return None
    scale = hidden_size / max(heads, 1)
    return None if scale == head_dim else scale


def _unturned(count: int, window: int | None) -> tuple[Layer, ...]:
    """As llama.cpp: every fourth layer has no RoPE; no key says otherwise."""
    return tuple(Layer(window, None if index % 4 == 3 else "rope") for index in range(count))


def _refuse_parts(fields: Fields) -> None:
    """Refuses what is a GGUF file and no whole language model."""
    kind = fields.text("general.type", "model")
    if kind != "model":
        raise HardcastError(
            f"{fields.where}: general.type is {kind!r:.40}: no language model but a part to go "
            f"with one; give the model's own .gguf file"
            + (", merged with it (llama-export-lora)" if kind == "adapter" else "")
        )
    if fields.integer("split.count", 1) > 1:
        raise HardcastError(
            f"{fields.where}: one part of several; join them first with: llama-gguf-split --merge"
        )


def _same_in_every_layer(value: object) -> object:
    """A number that a list repeats for every layer; what differs stays, and is refused as read."""
    if isinstance(value, list) and value and all(item == value[0] for item in value):
        return value[0]
    return value


def _biases(header: Header, family: Family, names: dict[str, str]) -> tuple[str, ...]:
    """Matrices that add a bias because the file holds one: nothing in the metadata says so."""
    ends = {name.partition(".")[2].partition(".")[2] for name in header.tensors if "blk." in name}
    return tuple(matrix for matrix in family.optional_biases if names[matrix] in ends)
