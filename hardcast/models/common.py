"""What the architectures share: tensor names, the order of steps of a decoder.

A helper of this room, not an architecture: it defines no `ARCHITECTURE`, so the discovery in
`hardcast.models` passes it by. An architecture file makes a `Decoder` and says what differs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hardcast.checkpoint.config import ModelConfig
from hardcast.program.program import Program, Shape, verify
from hardcast.program.step import (
    Add,
    Attend,
    Embed,
    GateMul,
    HeadNorm,
    KvWrite,
    Matvec,
    Norm,
    Quantize,
    Rope,
    Sample,
    Step,
)

ACTIVATION_BITS = 8
"""Bits of a block-quantised activation: one int8 pass over the matrix."""

HEAD_ACTIVATION_BITS = 10
"""Bits of the head's input: two passes over one matrix buy back half of what int8 loses in all."""

_ATTENTION_PARTS = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"})
_MLP_PARTS = frozenset({"gate_proj", "up_proj", "down_proj"})
_LAYER_NAME = re.compile(r"layers\.(\d+)\.([a-z_]+)(\.bias)?")


@dataclass(frozen=True)
class LayerNorms:
    """Names of the norms before and behind the two halves of a layer; None: there is none."""

    before_attention: str | None = "input_layernorm"
    behind_attention: str | None = None
    before_mlp: str | None = "post_attention_layernorm"
    behind_mlp: str | None = None


def checkpoint_name(image_name: str) -> str:
    """Hugging Face checkpoint name of a tensor of the image.

    layers.3.q_proj -> model.layers.3.self_attn.q_proj.weight;
    layers.3.q_proj.bias -> model.layers.3.self_attn.q_proj.bias

    Raises:
        KeyError: the name is not one that a step of this house can carry.
    """
    if image_name == "lm_head":
        return "lm_head.weight"
    if image_name in ("embed_tokens", "norm"):
        return f"model.{image_name}.weight"
    match = _LAYER_NAME.fullmatch(image_name)
    if match is None:
        raise KeyError(image_name)
    layer, part, bias = match.groups()
    block = "self_attn." if part in _ATTENTION_PARTS else "mlp." if part in _MLP_PARTS else ""
    return f"model.layers.{layer}.{block}{part}{bias or '.weight'}"


@dataclass(frozen=True)
class Decoder:
    """An architecture: the decoder with grouped-query attention and a gated MLP, and what differs.

    biases: matrices of a layer ("q_proj") that add a bias whatever the config says (Qwen 2).
    head_norm: q and k pass an RMS norm of each head before RoPE (Qwen 3).
    whole_norm: they pass one over all heads (OLMo 2).
    norms: those around the halves of a layer; what no norm precedes is quantised as it is.
    gate: table of GATE_MUL.
    """

    biases: tuple[str, ...] = ()
    head_norm: bool = False
    whole_norm: bool = False
    norms: LayerNorms = LayerNorms()
    gate: str = "sigmoid"

    def build_program(
        self,
        config: ModelConfig,
        activation_bits: int = ACTIVATION_BITS,
        head_activation_bits: int = HEAD_ACTIVATION_BITS,
    ) -> Program:
        """One token's forward pass: a verified program.

        Args:
            config: sizes of the model.
            activation_bits: bits of the quantised input of every matrix but the head.
            head_activation_bits: bits of the quantised input of the head.

        Raises:
            HardcastError: sizes that no chip can run (an odd head_dim, heads not shared evenly).
        """
        shape = Shape(
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            vocab_size=config.vocab_size,
        )
        norms, biased = self.norms, {*self.biases, *config.biases}
        heads = (config.num_attention_heads, config.num_key_value_heads) if self.head_norm else None
        normed = (1, 1) if self.whole_norm else heads
        steps: list[Step] = [Embed("embed_tokens")]
        for layer in range(config.num_hidden_layers):
            steps.append(_input(layer, norms.before_attention, activation_bits))
            steps += _attention(config, layer, biased, normed, activation_bits)
            steps += _output(layer, norms.behind_attention)
            steps.append(_input(layer, norms.before_mlp, activation_bits))
            steps += _gated_mlp(layer, biased, self.gate, activation_bits)
            steps += _output(layer, norms.behind_mlp)
        # A tied head is the embedding matrix itself: the chip holds one ROM for both steps.
        head = "embed_tokens" if config.tie_word_embeddings else "lm_head"
        steps += [
            Norm("norm", activation_bits=head_activation_bits),
            Matvec(head, src="h", dst="logits"),
            Sample(),
        ]
        program = Program(config.architecture, shape, tuple(steps))
        verify(program)
        return program


def _matvec(layer: int, part: str, src: str, dst: str, biased: set[str]) -> Matvec:
    """dst = the layer's matrix `part` times src, and its bias if it has one."""
    name = f"layers.{layer}.{part}"
    return Matvec(name, src, dst, bias=f"{name}.bias" if part in biased else None)


def _input(layer: int, norm: str | None, activation_bits: int) -> Step:
    """x -> h, for the first matrices of half a layer."""
    if norm is None:
        return Quantize(activation_bits=activation_bits)
    return Norm(f"layers.{layer}.{norm}", activation_bits=activation_bits)


def _output(layer: int, norm: str | None) -> list[Step]:
    """x += y, for the end of half a layer."""
    return [*([HeadNorm(f"layers.{layer}.{norm}", "y", 1)] if norm is not None else []), Add()]


def _attention(
    config: ModelConfig,
    layer: int,
    biased: set[str],
    normed: tuple[int, int] | None,
    activation_bits: int,
) -> list[Step]:
    """y = o_proj(attention(h)). normed: parts of q and of k that are normed before RoPE."""
    name, differs = f"layers.{layer}", config.layer(layer)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    steps: list[Step] = [_matvec(layer, f"{part}_proj", "h", part, biased) for part in "qkv"]
    if normed is not None:
        steps += [
            HeadNorm(f"{name}.q_norm", "q", normed[0]),
            HeadNorm(f"{name}.k_norm", "k", normed[1]),
        ]
    return [
        *steps,
        Rope("q", heads, differs.rope),
        Rope("k", kv_heads, differs.rope),
        KvWrite(layer),
        Attend(layer, window=differs.window, activation_bits=activation_bits),
        _matvec(layer, "o_proj", "a", "y", biased),
    ]


def _gated_mlp(layer: int, biased: set[str], gate: str, activation_bits: int) -> list[Step]:
    """y = down_proj(gate(gate_proj(h)) * up_proj(h))."""
    return [
        _matvec(layer, "gate_proj", "h", "g", biased),
        _matvec(layer, "up_proj", "h", "u", biased),
        GateMul(gate, activation_bits=activation_bits),
        _matvec(layer, "down_proj", "f", "y", biased),
    ]


def tensor_shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """Every tensor that a step reads, by image name: matrices, then gains and biases.

    Matrices are (out_features, in_features); vectors have one axis.
    """
    found: dict[str, tuple[int, ...]] = dict(program.matrices())
    for step in program.steps:
        match step:
            case Norm():
                found[step.gain] = (program.shape.width(step.src),)
            case HeadNorm():
                found[step.gain] = (program.part(step),)
            case Matvec(bias=str(bias)):
                found[bias] = (program.shape.width(step.dst),)
    return found
