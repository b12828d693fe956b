"""config.json of Hugging Face transformers (4 and 5) into a ModelConfig."""

from __future__ import annotations

from typing import Any

from hardcast.checkpoint.config import FAMILIES, Family, Fields, ModelConfig, unsupported
from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling

DEFAULT_THETA = 10000.0  # what transformers takes when config.json does not say
NEVER = ("attention_bias", "mlp_bias")  # features that no supported program has


def model_config(where: str, values: dict[str, Any], has_head: bool) -> ModelConfig:
    """Reads a parsed config.json.

    where: the file's path, for errors. has_head: the files hold lm_head.weight, which settles
    whether it is tied when config.json does not say.

    Raises HardcastError for a missing or absurd field and for any feature that the forward pass
    of the family does not have; nothing is ignored that would change what the model says.
    """
    fields = Fields(where, values)
    model_type = fields.text("model_type")
    architecture = next((k for k, f in FAMILIES.items() if model_type in f.model_types), None)
    if architecture is None:
        raise unsupported(where, model_type)
    _refuse_features(fields)
    heads = fields.integer("num_attention_heads")
    hidden_size = fields.integer("hidden_size")
    layers = fields.integer("num_hidden_layers")
    theta, scaling = _rope(fields)
    config = ModelConfig(
        architecture=architecture,
        hidden_size=hidden_size,
        intermediate_size=fields.integer("intermediate_size"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=fields.integer("num_key_value_heads", heads),
        head_dim=fields.integer("head_dim", hidden_size // max(heads, 1)),
        vocab_size=fields.integer("vocab_size"),
        max_position_embeddings=fields.integer("max_position_embeddings"),
        rms_norm_eps=fields.number("rms_norm_eps"),
        rope_theta=theta,
        rope_scaling=scaling,
        tie_word_embeddings=fields.flag("tie_word_embeddings", not has_head),
        sliding_window=_window(fields, FAMILIES[architecture], model_type, layers),
    )
    config.check(where)
    return config


def _refuse_features(fields: Fields) -> None:
    activation = fields.text("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise HardcastError(
            f"{fields.where}: hidden_act {activation!r:.40} is not supported, only silu is"
        )
    for name in NEVER:
        if fields.flag(name, False):
            raise HardcastError(f"{fields.where}: {name} true is not supported for this family")
    if fields.number("partial_rotary_factor", 1.0) != 1.0:
        raise HardcastError(f"{fields.where}: partial_rotary_factor other than 1 is not supported")
    if fields.values.get("quantization_config"):
        raise HardcastError(
            f"{fields.where}: quantization_config is not supported; give the unquantized model "
            f"or a GGUF file"
        )


def _rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    """(rope_theta, scaling) from rope_scaling (transformers 4) or rope_parameters (5)."""
    where = fields.where
    table = fields.values.get("rope_parameters") or fields.values.get("rope_scaling") or {}
    if not isinstance(table, dict):
        raise HardcastError(f"{where}: rope_scaling is {table!r:.60}, expected an object")
    rope = Fields(f"{where} (rope_scaling)", table)
    theta = fields.number("rope_theta", rope.number("rope_theta", DEFAULT_THETA))
    if "partial_rotary_factor" in table and rope.number("partial_rotary_factor") != 1.0:
        raise HardcastError(f"{where}: partial_rotary_factor other than 1 is not supported")
    kind = rope.text("rope_type", rope.text("type", "default"))
    if kind == "default":
        return theta, None
    if kind not in ("linear", "llama3"):
        raise HardcastError(
            f"{where}: RoPE scaling {kind!r:.40} is not supported; supported are default, linear "
            f"and llama3"
        )
    factor = rope.number("factor")
    if not 1 <= factor <= 1e6:
        raise HardcastError(f"{where}: RoPE scaling factor is {factor}, expected 1 to 1000000")
    if kind == "linear":
        return theta, RopeScaling(kind="linear", factor=factor)
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if not 0 < low < high <= 1e6:
        raise HardcastError(
            f"{where}: low_freq_factor {low} and high_freq_factor {high}: expected 0 < low < high"
        )
    context = rope.integer("original_max_position_embeddings")
    if context < 1:
        raise HardcastError(f"{where}: original_max_position_embeddings is {context}")
    return theta, RopeScaling("llama3", factor, low, high, context)


def _window(fields: Fields, family: Family, model_type: str, layers: int) -> int | None:
    """The sliding window that every layer has, or None; one for some layers only is refused."""
    if fields.values.get("sliding_window") is None or model_type not in family.window_types:
        return None
    window = fields.integer("sliding_window")
    kinds = fields.values.get("layer_types")
    if isinstance(kinds, list) and kinds:
        sliding = sum(kind == "sliding_attention" for kind in kinds)
        total = len(kinds)
    elif family.window_switch:
        # transformers: layers from max_window_layers on have the window.
        first = fields.integer("max_window_layers", 28)
        enabled = fields.flag("use_sliding_window", False)
        sliding = max(0, layers - first) if enabled else 0
        total = layers
    else:
        sliding = total = layers
    if sliding == 0:
        return None
    if sliding != total:
        raise HardcastError(
            f"{fields.where}: a sliding window in {sliding} of {total} layers is not supported; "
            f"all or none must have it"
        )
    return window
