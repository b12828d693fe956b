"""config.json of Hugging Face transformers (4 and 5) into a ModelConfig."""

from __future__ import annotations

from typing import Any

from hardcast.checkpoint.config import (
    ATTENTION,
    FAMILIES,
    MLP,
    Family,
    Fields,
    ModelConfig,
    unsupported,
)
from hardcast.checkpoint.hf_rope import rope
from hardcast.checkpoint.keys import check_keys, unknown_note
from hardcast.errors import HardcastError

DEFAULT_WINDOW = 4096  # what transformers takes where a window counts and config.json has no key
WINDOWED, FULL = "sliding_attention", "full_attention"  # of layer_types


def model_config(
    where: str, values: dict[str, Any], tied_by_default: bool
) -> tuple[ModelConfig, list[str]]:
    """Reads a parsed config.json. Returns the config and notes for the user, a line each.

    where: the file's path, for errors. tied_by_default: whether the head is tied if config.json
    does not say.

    Raises HardcastError for a missing or absurd field and for any feature that the forward pass
    of the family does not have; what nobody knows is named in a note.
    """
    fields = Fields(where, values)
    model_type = fields.text("model_type")
    architecture = next((k for k, f in FAMILIES.items() if model_type in f.model_types), None)
    if architecture is None:
        raise _unsupported(where, model_type, values)
    family = FAMILIES[architecture]
    activation = fields.text("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise HardcastError(
            f"{where}: hidden_act {activation!r:.40} is not supported, only silu is"
        )
    heads = fields.integer("num_attention_heads")
    hidden_size = fields.integer("hidden_size")
    theta, scaling, unknown = rope(fields)
    config = ModelConfig(
        architecture=architecture,
        hidden_size=hidden_size,
        intermediate_size=fields.integer("intermediate_size"),
        num_hidden_layers=fields.integer("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=fields.integer("num_key_value_heads", heads),
        head_dim=fields.integer("head_dim", hidden_size // max(heads, 1)),
        vocab_size=fields.integer("vocab_size"),
        max_position_embeddings=fields.integer("max_position_embeddings"),
        rms_norm_eps=fields.number("rms_norm_eps"),
        rope_theta=theta,
        rope_scaling=scaling,
        tie_word_embeddings=fields.flag("tie_word_embeddings", tied_by_default),
        sliding_window=_window(fields, family, model_type),
        biases=_biases(fields, family, model_type),
    )
    config.check(where)
    unknown += check_keys("config", where, values, _neutral(config, family))
    if model_type not in family.window_types and values.get("sliding_window") is not None:
        unknown.append("sliding_window")  # transformers does not read it there; others may
    return config, [unknown_note(where, unknown)] if unknown else []


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


def _neutral(config: ModelConfig, family: Family) -> dict[str, Any]:
    """Values that change nothing because the model has them anyway."""
    scale, dim = config.head_dim**-0.5, config.head_dim
    own: dict[str, Any] = dict.fromkeys(
        ("attention_multiplier", "attn_scale", "attention_scale"), scale
    )
    own |= {"query_pre_attn_scalar": dim, "rotary_dim": dim, "dim_model_base": config.hidden_size}
    if family.head_norms:
        own |= dict.fromkeys(("qk_norm", "use_qk_norm", "qk_layernorm"), True)
    if family.biases:
        own["qkv_bias"] = True
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


def _window(fields: Fields, family: Family, model_type: str) -> int | None:
    """The sliding window that every layer has, or None; one for some layers only is refused."""
    layers = fields.integer("num_hidden_layers")
    kinds = _kinds(fields, layers)
    windowed = None if kinds is None else kinds.count(WINDOWED)
    window = None
    if model_type in family.window_types:
        stated = fields.values.get("sliding_window", DEFAULT_WINDOW)
        window = None if stated is None else fields.integer("sliding_window", DEFAULT_WINDOW)
    if family.window_switch:
        window = window if fields.flag("use_sliding_window", False) else None
        if windowed is None:
            # transformers: layers from max_window_layers on have the window.
            windowed = max(0, layers - fields.integer("max_window_layers", 28))
            windowed = windowed if window is not None else 0
        if windowed == 0:
            return None
    if windowed is None:
        return window
    if windowed != (0 if window is None else layers):
        said = "no sliding_window" if window is None else f"sliding_window {window}"
        raise HardcastError(
            f"{fields.where}: a sliding window in {windowed} of {layers} layers with {said} is not "
            f"supported; all or none must have it"
        )
    return window


def _kinds(fields: Fields, layers: int) -> list[str] | None:
    """layer_types, one an existing layer; None if it is not there."""
    kinds = fields.values.get("layer_types")
    if not kinds:
        return None
    if not isinstance(kinds, list) or len(kinds) < layers:
        raise HardcastError(
            f"{fields.where}: layer_types is {kinds!r:.60}, expected one of {layers} layers each"
        )
    for kind in kinds[:layers]:
        if kind not in (WINDOWED, FULL):
            raise HardcastError(
                f"{fields.where}: layer_types holds {kind!r:.60}; supported are {FULL} and "
                f"{WINDOWED}"
            )
    return kinds[:layers]
