"""Every architecture in hardcast/models, found by the listing that the product itself uses."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hardcast.models
from hardcast import models
from hardcast.checkpoint.config import Layer, ModelConfig
from hardcast.errors import HardcastError
from hardcast.program.program import Program, verify
from hardcast.program.step import (
    Attend,
    Embed,
    GateMul,
    HeadNorm,
    Matvec,
    Norm,
    Quantize,
    Rope,
    Sample,
)
from tests import tiny

ARCHITECTURES = models.architectures()
HELPERS = {"__init__", "common", "shapes", "units"}


def config(architecture: str = "llama", **overrides: Any) -> ModelConfig:
    """A two-layer model with nothing a power of two."""
    sizes: dict[str, Any] = {
        "architecture": architecture,
        "hidden_size": 96,
        "intermediate_size": 200,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 24,
        "vocab_size": 1009,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "sliding_window": None,
    }
    return ModelConfig(**{**sizes, **overrides})


def tiny_model(architecture: str, **overrides: Any) -> tuple[Program, dict[str, np.ndarray]]:
    """The program of the tiny checkpoint of `architecture`, and that checkpoint's tensors."""
    found = tiny.config(architecture, **overrides)
    names = inspect.signature(ModelConfig).parameters
    sizes = {key: value for key, value in found.items() if key in names}
    program = models.build_program(config(architecture, **sizes))
    return program, tiny.tensors(architecture, **overrides)


def test_every_file_is_an_architecture_or_a_known_helper() -> None:
    files = {path.stem for path in Path(hardcast.models.__file__).parent.glob("*.py")}
    assert files - HELPERS == set(ARCHITECTURES)
    assert {"gemma3", "llama", "olmo2", "qwen2", "qwen3"} <= set(ARCHITECTURES)


def test_unknown_architecture_is_named_with_the_supported_ones() -> None:
    with pytest.raises(HardcastError) as error:
        models.get("gemma2")
    message = str(error.value)
    assert "'gemma2'" in message and "\n" not in message
    assert all(name in message for name in ARCHITECTURES)


def test_helper_modules_cannot_be_asked_for_as_architectures() -> None:
    for name in HELPERS:
        with pytest.raises(HardcastError, match="not supported"):
            models.get(name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_program_verifies_and_survives_json(architecture: str) -> None:
    program = models.build_program(config(architecture))
    verify(program)
    assert program.architecture == architecture
    assert Program.from_json(program.to_json()) == program
    assert isinstance(program.steps[0], Embed)
    assert isinstance(program.steps[-1], Sample)
    layers = [step.layer for step in program.steps if isinstance(step, Attend)]
    assert layers == [0, 1]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_program_reads_exactly_the_tensors_of_a_checkpoint(architecture: str, tied: bool) -> None:
    program, tensors = tiny_model(architecture, tie_word_embeddings=tied)
    read = {
        models.checkpoint_name(name): shape for name, shape in models.tensor_shapes(program).items()
    }
    assert read == {name: array.shape for name, array in tensors.items()}


def test_order_of_steps_in_a_layer() -> None:
    def kinds(architecture: str) -> list[str]:
        steps = models.build_program(config(architecture, num_hidden_layers=1)).steps
        return [type(step).__name__ for step in steps]

    attention = ["Norm", "Matvec", "Matvec", "Matvec", "Rope", "Rope", "KvWrite", "Attend"]
    mlp = ["Norm", "Matvec", "Matvec", "GateMul", "Matvec", "Add"]
    plain = ["Embed", *attention, "Matvec", "Add", *mlp, "Norm", "Matvec", "Sample"]
    assert kinds("llama") == kinds("qwen2") == plain
    assert kinds("qwen3") == [*plain[:5], "HeadNorm", "HeadNorm", *plain[5:]]
    attention = ["Quantize", *attention[1:4], "HeadNorm", "HeadNorm", *attention[4:], "Matvec"]
    half = ["Quantize", *mlp[1:5]]
    behind = ["Embed", *attention, "HeadNorm", "Add", *half, "HeadNorm", "Add", *plain[-3:]]
    assert kinds("olmo2") == behind


def test_what_differs_between_the_architectures() -> None:
    def steps(architecture: str, kind: type) -> list[Any]:
        program = models.build_program(config(architecture))
        return [step for step in program.steps if isinstance(step, kind)]

    assert all(step.bias is None for step in steps("llama", Matvec) + steps("qwen3", Matvec))
    biased = [step.matrix for step in steps("qwen2", Matvec) if step.bias is not None]
    assert biased == [f"layers.{layer}.{part}_proj" for layer in (0, 1) for part in "qkv"]
    assert not steps("llama", HeadNorm) and not steps("qwen2", HeadNorm)
    assert [(step.buffer, step.num_heads) for step in steps("qwen3", HeadNorm)] == [
        ("q", 6),
        ("k", 3),
    ] * 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_heads_window_and_activation_bits_reach_the_steps(architecture: str) -> None:
    module = models.get(architecture)
    program = module.build_program(config(architecture, sliding_window=17), 9, 12)
    norms = [step for step in program.steps if isinstance(step, Norm | Quantize)]
    assert [step.activation_bits for step in norms] == [9, 9, 9, 9, 12]
    others = [step for step in program.steps if isinstance(step, Attend | GateMul)]
    assert all(step.activation_bits == 9 for step in others)
    attends = [step for step in program.steps if isinstance(step, Attend)]
    assert all(step.window == 17 for step in attends)
    ropes = [step for step in program.steps if isinstance(step, Rope)]
    assert [(step.buffer, step.num_heads) for step in ropes] == [("q", 6), ("k", 3)] * 2


def test_a_layer_has_its_own_window_and_table() -> None:
    """What says nothing new is not stored: programs of before are the same text."""
    layers = (Layer(5, "rope_local"), Layer(None, None), Layer())
    differ = models.build_program(config(num_hidden_layers=3, layers=layers))
    assert differ.rope_tables() == ("rope_local", "rope")
    stored = [s for s in differ.to_json()["steps"] if s["step"] == "Rope" and s["buffer"] == "k"]
    rope = {"step": "Rope", "buffer": "k", "num_heads": 3}
    assert stored == [{**rope, "table": "rope_local"}, {**rope, "table": None}, rope]
    assert Program.from_json(differ.to_json()) == differ
    assert [s.window for s in differ.steps if isinstance(s, Attend)] == [5, None, None]


def test_tied_head_reads_the_embedding_matrix() -> None:
    head = {
        tied: models.build_program(config(tie_word_embeddings=tied)).steps[-2]
        for tied in (False, True)
    }
    assert head[False] == Matvec("lm_head", "h", "logits")
    assert head[True] == Matvec("embed_tokens", "h", "logits")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"head_dim": 25}, "head_dim 25 is odd"),
        ({"num_key_value_heads": 4}, "num_attention_heads 6 is not a multiple"),
    ],
)
def test_sizes_that_no_chip_can_run_are_refused(overrides: dict[str, Any], expected: str) -> None:
    with pytest.raises(HardcastError, match=expected):
        models.build_program(config(**overrides))


def test_checkpoint_name_refuses_a_name_of_another_house() -> None:
    for name in ("layers.x.q_proj", "layers.0", "blk.0.attn_q", "layers.0.q_proj.weight"):
        with pytest.raises(KeyError):
            models.checkpoint_name(name)
