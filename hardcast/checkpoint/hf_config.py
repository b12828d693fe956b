"""config.json of Hugging Face transformers (4 and 5) into a ModelConfig."""

from __future__ import annotations

from typing import Any

from hardcast.checkpoint.config import (
    ATTENTION,
    FAMILIES,
    LAYER_LIMIT,
    MLP,
    Family,
    Fields,
    Layer,
    ModelConfig,
    unsupported,
)
from hardcast.checkpoint.keys import check_keys, unknown_note
from hardcast.checkpoint.local_layers import PATTERN, alternating, hf_ropes, of_kinds
from hardcast.checkpoint.rope.hf import rope
from hardcast.checkpoint.rope.layers import layer_kinds, layers
from hardcast.errors import HardcastError

IMAGES_TOO, LANGUAGE_MODEL = "gemma3", "gemma3_text"
LOCAL_KEYS = (  # of families with local layers; the last one is left over beside layer_types
    "hidden_activation",
    "query_pre_attn_scalar",
    "rope_local_base_freq",
    "sliding_window_pattern",
    "_sliding_window_pattern",
)


def model_config(
    where: str, values: dict[str, Any], tied_by_default: bool
) -> tuple[ModelConfig, list[str]]:
    """Reads a parsed config.json. Returns the config and notes for the user, a line each.

    where: the file's path, for errors. tied_by_default: whether the head is tied if config.json
    does not say.

    Raises HardcastError for a missing or absurd field and for any feature that the forward pass
    of the family does not have; what nobody knows is named in a note.
    """
    where, values, notes = _language_model(where, values)
    model_type = Fields(where, values).text("model_type")
    architecture = next((k for k, f in FAMILIES.items() if model_type in f.model_types), None)
    if architecture is None:
        raise _unsupported(where, model_type, values)
    family = FAMILIES[architecture]
    stated = {key: value for key, value in values.items() if value is not None}
    fields = Fields(where, {**values, **family.defaults, **stated})
    activation = fields.text(family.activation_key, family.activations[0])
    if activation not in family.activations:
        raise HardcastError(
            f"{where}: {family.activation_key} {activation!r:.40} is not supported, only "
            f"{family.activations[0]} is"
        )
    heads = fields.integer("num_attention_heads")
    hidden_size = fields.integer("hidden_size")
    head_dim = fields.integer("head_dim", hidden_size // max(heads, 1))
    local_rope = None
    if family.local_layers:
        turned, local_rope = hf_ropes(fields, family)
        window, each = None, _local_layers(fields, family)
    else:
        turned = rope(fields, family)
        window, each = layers(fields, family, model_type)
    rotary = int(head_dim * turned.partial)
    config = ModelConfig(
        architecture=architecture,
        hidden_size=hidden_size,
        intermediate_size=fields.integer("intermediate_size"),
        num_hidden_layers=fields.integer("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=fields.integer("num_key_value_heads", heads),
        head_dim=head_dim,
        vocab_size=fields.integer("vocab_size"),
        max_position_embeddings=fields.integer("max_position_embeddings"),
        rms_norm_eps=fields.number("rms_norm_eps"),
        rope_theta=turned.theta,
        rope_scaling=turned.scaling,
        tie_word_embeddings=fields.flag("tie_word_embeddings", tied_by_default),
        sliding_window=window,
        biases=_biases(fields, family, model_type),
        layers=each,
        local_rope=local_rope,
        query_pre_attn_scalar=_query_scale(fields, family),
        rotary_dim=None if rotary == head_dim else rotary,
    )
    config.check(where)
    neutral = _neutral(config, family, values)
    read = {"no_rope_layers", "no_rope_layer_interval"} if family.unturned else set()
    read |= {"partial_rotary_factor"} if family.partial else set()
    others = {key: value for key, value in values.items() if key not in read}
    unknown = turned.unknown + check_keys("config", where, others, neutral)
    if model_type not in family.window_types and values.get("sliding_window") is not None:
        unknown.append("sliding_window")  # transformers does not read it there; others may
    return config, [*notes, *([unknown_note(where, unknown)] if unknown else [])]


def _language_model(where: str, values: dict[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Where a config's language model is, that part of it, and a note where there is more."""
    inner = values.get("text_config")
    if values.get("model_type") != IMAGES_TOO or not isinstance(inner, dict):
        return where, values, []
    text = {"tie_word_embeddings": values.get("tie_word_embeddings"), **inner}
    note = f"{where}: {IMAGES_TOO} reads images too; the chip is its language model alone"
    return f"{where} (text_config)", {**text, "model_type": LANGUAGE_MODEL}, [note]


def _local_layers(fields: Fields, family: Family) -> tuple[Layer, ...]:
    """Gemma 3's layers: by layer_types, or every sliding_window_pattern-th global."""
    count = fields.integer("num_hidden_layers")
    stated = fields.values.get("sliding_window", family.window_default)
    window = None if stated is None else fields.integer("sliding_window", family.window_default)
    kinds = layer_kinds(fields, count)
    if kinds is not None:
        return of_kinds(kinds, window)
    pattern = fields.integer("sliding_window_pattern", PATTERN)
    if pattern < 1 or not 1 <= count <= LAYER_LIMIT:
        raise HardcastError(f"{fields.where}: sliding_window_pattern {pattern} of {count} layers")
    return alternating(count, window, pattern)


def _query_scale(fields: Fields, family: Family) -> float | None:
    """query_pre_attn_scalar where the family reads it and it is not head_dim."""
    if "query_pre_attn_scalar" not in family.defaults:
        return None
    scalar = fields.number("query_pre_attn_scalar")
    return None if scalar == fields.integer("head_dim") else scalar


def _unsupported(where: str, model_type: str, values: dict[str, Any]) -> HardcastError:
    for key in ("text_config", "llm_config", "language_config"):
        inner = values.get(key)
        if isinstance(inner, dict):
            name = f"{inner.get('model_type', 'of no name')!s:.40}"
            return HardcastError(
                f"{where}: {model_type!r:.40} is more than a language model; save its language "
                f"model ({key}: {name}) as a folder of its own and give that"
            )
    return unsupported(where, model_type)


def _neutral(config: ModelConfig, family: Family, values: dict[str, Any]) -> dict[str, Any]:
    """Values that change nothing because the model has them anyway."""
    scale, dim = config.head_dim**-0.5, config.head_dim
    own: dict[str, Any] = dict.fromkeys(
        ("attention_multiplier", "attn_scale", "attention_scale"), scale
    )
    own |= {"query_pre_attn_scalar": dim, "rotary_dim": dim, "dim_model_base": config.hidden_size}
    if family.head_norms or family.whole_norms:
        own |= dict.fromkeys(("qk_norm", "use_qk_norm", "qk_layernorm"), True)
    if family.biases:
        own["qkv_bias"] = True
    if family.local_layers:  # read above
        own |= {name: values.get(name) for name in LOCAL_KEYS}
    return own


def _biases(fields: Fields, family: Family, model_type: str) -> tuple[str, ...]:
    """Matrices that add a bias because attention_bias or mlp_bias says so."""
    found: list[str] = []
    for name, matrices in (("attention_bias", ATTENTION), ("mlp_bias", MLP)):
        if not fields.flag(name, False):
            continue
        if model_type in family.bias_types and set(matrices) <= set(family.optional_biases):
            found += matrices
        elif name == "mlp_bias" or not family.biases:  # with its own biases it reads no such key
            raise HardcastError(f"{fields.where}: {name} true is not supported for {model_type}")
    return tuple(found)
