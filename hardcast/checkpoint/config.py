"""The shape of a model under its Hugging Face config names, and which families are understood.

FAMILIES is the one table of what a checkpoint may be. It holds only packing: how a family is named
in each format and what its tensors are called. What the tensors mean is models/<architecture>.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling, inverse_frequencies

SIZE_LIMIT = 1 << 24  # of any one size: far above every model, far below an overflow
LAYER_LIMIT = 1024  # names are listed layer by layer: a wild count must not fill the memory
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Family:
    """How checkpoints of one architecture are packed.

    model_types: names in config.json. gguf: name in GGUF's general.architecture.
    gguf_interleaved: llama.cpp stores the Q and K rows of RoPE pairs side by side.
    biases: matrices of a layer that always add a bias. optional_biases: those that may.
    bias_types: names in config.json whose attention_bias and mlp_bias say whether they do.
    head_norms: a layer has norms of the heads of q and k; whole_norms: of all of q and of k.
    norms: the others of a layer, by name, as they follow: around attention, around the MLP.
    one_plus: safetensors hold norms' gains less 1 (in GGUF they are whole).
    scaled_embedding: what is embedded is multiplied by sqrt(hidden_size).
    activations: names in config.json (under activation_key) of the gate's nonlinearity.
    local_layers: some layers see a window and have a RoPE of their own (local_layers.py).
    defaults: what transformers takes where config.json lacks a key.
    window_types: names in config.json whose sliding_window counts; elsewhere it means nothing.
    window_switch: and there it counts only where use_sliding_window is true.
    window_default: the window where one counts and config.json does not say.
    fused: q, k and v are stored as one matrix, gate and up as another. partial: RoPE may turn only
    a part of each head.
    unturned: some layers have no RoPE: every fourth, or those that no_rope_layers names.
    """

    model_types: tuple[str, ...]
    gguf: str
    gguf_interleaved: bool = False
    biases: tuple[str, ...] = ()
    optional_biases: tuple[str, ...] = ()
    bias_types: tuple[str, ...] = ()
    head_norms: bool = False
    whole_norms: bool = False
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    one_plus: bool = False
    scaled_embedding: bool = False
    activation_key: str = "hidden_act"
    activations: tuple[str, ...] = ("silu", "swish")
    local_layers: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    window_types: tuple[str, ...] = ()
    window_switch: bool = False
    window_default: int | None = 4096
    fused: bool = False
    partial: bool = False
    unturned: bool = False


FAMILIES = {
    "llama": Family(
        ("llama", "mistral"),
        "llama",
        gguf_interleaved=True,
        optional_biases=ATTENTION + MLP,
        bias_types=("llama",),
        window_types=("mistral",),
    ),
    "qwen2": Family(
        ("qwen2",), "qwen2", biases=ATTENTION[:3], window_types=("qwen2",), window_switch=True
    ),
    "qwen3": Family(
        ("qwen3",),
        "qwen3",
        optional_biases=ATTENTION,
        bias_types=("qwen3",),
        head_norms=True,
        window_types=("qwen3",),
        window_switch=True,
    ),
    "gemma3": Family(
        ("gemma3_text",),
        "gemma3",
        optional_biases=ATTENTION,
        bias_types=("gemma3_text",),
        head_norms=True,
        norms=(
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ),
        one_plus=True,
        scaled_embedding=True,
        activation_key="hidden_activation",
        activations=("gelu_pytorch_tanh",),
        window_types=("gemma3_text",),
        local_layers=True,
        defaults={
            "vocab_size": 262208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-6,
            "query_pre_attn_scalar": 256,
            "tie_word_embeddings": True,
        },
    ),
    "olmo2": Family(
        ("olmo2",),
        "olmo2",
        optional_biases=ATTENTION,
        bias_types=("olmo2",),
        whole_norms=True,
        norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
    "smollm3": Family(
        ("smollm3",),
        "smollm3",
        gguf_interleaved=True,
        optional_biases=ATTENTION + MLP,
        bias_types=("smollm3",),
        window_types=("smollm3",),
        window_switch=True,
        window_default=None,
        unturned=True,
    ),
    "phi3": Family(
        ("phi3",), "phi3", window_types=("phi3",), window_default=None, fused=True, partial=True
    ),
}


@dataclass(frozen=True)
class LocalRope:
    """RoPE of the layers that see a window, where it differs from the others'."""

    rope_theta: float
    rope_scaling: RopeScaling | None = None


@dataclass(frozen=True)
class Layer:
    """What may differ from layer to layer.

    window: positions that attention sees, or None for all. rope: the table of angles that turns q
    and k ("rope", or "rope_local": ModelConfig.local_rope), or None where nothing does.
    """

    window: int | None = None
    rope: str | None = "rope"


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of a model; every field has its Hugging Face name and meaning.

    architecture: a key of FAMILIES. sliding_window: positions that attention sees, or None.
    rope_scaling: None for plain RoPE. biases: matrices of a layer ("o_proj") that add a bias
    beside those of the family (attention_bias, mlp_bias). layers: each layer, or () where all have
    sliding_window and the one RoPE. local_rope: base and scaling of the table "rope_local".
    query_pre_attn_scalar: scores are divided by its root; None: by that of head_dim.
    rotary_dim: channels of a head that the table "rope" turns, the first ones, or None for all.
    """

    architecture: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    tie_word_embeddings: bool
    sliding_window: int | None
    biases: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    local_rope: LocalRope | None = None
    query_pre_attn_scalar: float | None = None
    rotary_dim: int | None = None

    @property
    def attention_factor(self) -> float:
        """What multiplies cosine and sine of the table "rope"."""
        return self.rope_scaling.attention_factor if self.rope_scaling else 1.0

    def for_context(self, context: int) -> ModelConfig:
        """The model as a chip of so many positions has it (LongRoPE has two RoPEs)."""
        scaling = self.rope_scaling
        return replace(self, rope_scaling=scaling.for_context(context)) if scaling else self

    def layer(self, index: int) -> Layer:
        """What layer `index` has of its own."""
        return self.layers[index] if self.layers else Layer(self.sliding_window)

    def frequencies(self, table: str) -> list[Decimal]:
        """Radians a position of each of the head_dim / 2 pairs, in "rope" or "rope_local"."""
        theta, scaling = self.rope_theta, self.rope_scaling
        if table == "rope_local":
            assert self.local_rope is not None
            theta, scaling = self.local_rope.rope_theta, self.local_rope.rope_scaling
        elif scaling is not None:
            scaling = scaling.for_context(self.max_position_embeddings)
        rotary = self.rotary_dim or self.head_dim
        still = (self.head_dim - rotary) // 2  # pairs that no angle turns
        return inverse_frequencies(rotary, theta, scaling) + [Decimal(0)] * still

    def check(self, where: str) -> None:
        """Raises HardcastError, naming `where`, if the sizes cannot belong to a model."""
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "vocab_size",
            "max_position_embeddings",
        ):
            limit = LAYER_LIMIT if name == "num_hidden_layers" else SIZE_LIMIT
            if not 1 <= getattr(self, name) <= limit:
                raise HardcastError(
                    f"{where}: {name} is {getattr(self, name)}, expected 1 to {limit}"
                )
        if self.num_attention_heads % self.num_key_value_heads:
            raise HardcastError(
                f"{where}: num_attention_heads {self.num_attention_heads} is no multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise HardcastError(f"{where}: head_dim {self.head_dim} is odd, RoPE rotates pairs")
        rotary = self.head_dim if self.rotary_dim is None else self.rotary_dim
        if not 0 < rotary <= self.head_dim or rotary % 2:
            raise HardcastError(
                f"{where}: RoPE turns {rotary} of head_dim {self.head_dim}, expected an even part"
            )
        scaling = self.rope_scaling
        for factors in (scaling.factors, scaling.long_factors) if scaling else ():
            if factors and len(factors) != rotary // 2:
                raise HardcastError(
                    f"{where}: {len(factors)} RoPE factors for {rotary // 2} pairs of channels"
                )
        local = self.local_rope.rope_scaling if self.local_rope else None
        if local is not None and local.kind not in ("linear", "llama3"):
            raise HardcastError(
                f"{where}: RoPE scaling {local.kind} of local layers is not supported; supported "
                f"are linear and llama3"
            )
        bases = {"rms_norm_eps": self.rms_norm_eps, "rope_theta": self.rope_theta}
        if self.local_rope is not None:
            bases["the local layers' rope_theta"] = self.local_rope.rope_theta
        for name, value in bases.items():
            if not (math.isfinite(value) and value > 0):
                raise HardcastError(f"{where}: {name} is {value}, expected a number above 0")
        if len(self.layers) not in (0, self.num_hidden_layers):
            raise HardcastError(
                f"{where}: {len(self.layers)} layers are described, the model has "
                f"{self.num_hidden_layers}"
            )
        scalar = self.query_pre_attn_scalar
        if scalar is not None and not (math.isfinite(scalar) and scalar > 0):
            raise HardcastError(f"{where}: query_pre_attn_scalar is {scalar}, expected above 0")
        for window in (self.sliding_window, *(layer.window for layer in self.layers)):
            if window is not None and window < 1:
                raise HardcastError(f"{where}: sliding_window is {window}, expected at least 1")

    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """As tensor_shapes, with the matrices that the family stores as one."""
        shapes = self.tensor_shapes()
        if not FAMILIES[self.architecture].fused:
            return shapes
        q, kv = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        whole = {
            "q_proj": ("qkv_proj", q + 2 * kv),
            "gate_proj": ("gate_up_proj", 2 * self.intermediate_size),
        }
        found: dict[str, tuple[int, ...]] = {}
        for name, shape in shapes.items():
            role = name.split(".")[-2]
            if role in whole:
                joined, rows = whole[role]
                found[name.replace(role, joined)] = (rows, shape[1])
            elif role not in ("k_proj", "v_proj", "up_proj"):
                found[name] = shape
        return found

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that a checkpoint of this config holds, in the order of the forward pass."""
        family = FAMILIES[self.architecture]
        q_size = self.num_attention_heads * self.head_dim
        kv_size = self.num_key_value_heads * self.head_dim
        hidden, inner = self.hidden_size, self.intermediate_size
        biased = {*family.biases, *self.biases}
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, hidden)
        }
        for layer in range(self.num_hidden_layers):
            prefix = f"model.layers.{layer}."

            def matrix(
                block: str, name: str, rows: int, columns: int, prefix: str = prefix
            ) -> None:
                shapes[f"{prefix}{block}.{name}.weight"] = (rows, columns)
                if name in biased:
                    shapes[f"{prefix}{block}.{name}.bias"] = (rows,)

            for name in family.norms:
                shapes[f"{prefix}{name}.weight"] = (hidden,)
            for name, rows in zip(ATTENTION[:3], (q_size, kv_size, kv_size), strict=True):
                matrix("self_attn", name, rows, hidden)
            if family.head_norms or family.whole_norms:
                sizes = (q_size, kv_size) if family.whole_norms else (self.head_dim,) * 2
                shapes[prefix + "self_attn.q_norm.weight"] = sizes[:1]
                shapes[prefix + "self_attn.k_norm.weight"] = sizes[1:]
            matrix("self_attn", "o_proj", hidden, q_size)
            matrix("mlp", "gate_proj", inner, hidden)
            matrix("mlp", "up_proj", inner, hidden)
            matrix("mlp", "down_proj", hidden, inner)
        shapes["model.norm.weight"] = (self.hidden_size,)
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        return shapes


class Fields:
    """Typed look-ups in a config: every refusal names the place, the field and what was found."""

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        self.where = where
        self.values = values

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer field; without a default it must be there."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise HardcastError(f"{self.where}: {name} is {value!r:.60}, expected an integer")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """An integer or float field, as float."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise HardcastError(f"{self.where}: {name} is {value!r:.60}, expected a number")
        try:
            return float(value)
        except OverflowError:
            raise HardcastError(f"{self.where}: {name} is too large for a number") from None

    def text(self, name: str, default: str | None = None) -> str:
        """A text field."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise HardcastError(f"{self.where}: {name} is {value!r:.60}, expected text")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A true/false field."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise HardcastError(f"{self.where}: {name} is {value!r:.60}, expected true or false")
        return value

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        if value is None:
            value = default
        if value is None:
            raise HardcastError(f"{self.where}: the field {name} is missing; a model needs it")
        return value


def unsupported(where: str, found: str) -> HardcastError:
    """The error for a model family that is not understood."""
    known = sorted({name for family in FAMILIES.values() for name in family.model_types})
    return HardcastError(
        f"{where}: architecture {found!r:.60} is not supported; supported are {', '.join(known)}"
    )
