"""Rotations are orthogonal, and a rotated model computes what the plain one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardcast import models
from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.base import Checkpoint
from hardcast.errors import HardcastError
from hardcast.program.program import Program
from hardcast.program.step import Norm
from hardcast.quantize.balance import chip_basis
from hardcast.quantize.float_forward import FloatModel
from hardcast.quantize.folding import HEAD_ROTATION, Plain, Rotated, can_rotate
from hardcast.quantize.rotation import Rotation, hadamard
from tests import tiny

SIZES = [1, 2, 7, 48, 64, 80, 96, 576, 896, 1536]


@pytest.mark.parametrize("n", SIZES)
def test_rotations_are_orthogonal_matrices(n: int) -> None:
    rotation = Rotation(n, seed=5)
    q = rotation.apply(np.eye(n, dtype=np.float32)).astype(np.float64)
    assert np.abs(q.T @ q - np.eye(n)).max() < 1e-5
    x = np.random.default_rng(0).standard_normal((2, 3, n)).astype(np.float32)
    turned = rotation.apply(x)
    assert turned.dtype == np.float32 and turned.shape == x.shape
    np.testing.assert_allclose(turned, x @ q, atol=1e-5 * np.sqrt(n))
    columns = rotation.apply_to_rows(x[0].T)
    assert columns.dtype == np.float32 and columns.flags.c_contiguous
    np.testing.assert_allclose(columns, q.T @ x[0].T, atol=1e-5 * np.sqrt(n))


def test_a_large_rotation_keeps_lengths_and_has_its_transpose() -> None:
    """5120 = 1024 * 5, too large to form here: x Q Q^T = x and |x Q| = |x|."""
    rotation = Rotation(5120, seed=1)
    x = np.random.default_rng(0).standard_normal((3, 5120)).astype(np.float32)
    y = np.random.default_rng(1).standard_normal((3, 5120)).astype(np.float32)
    np.testing.assert_allclose(rotation.apply(x) @ rotation.apply(y).T, x @ y.T, atol=1e-2)


@pytest.mark.parametrize("n", [576, 1536, 5120])
def test_an_outlier_is_spread_over_all_channels(n: int) -> None:
    x = np.zeros((1, n), np.float32)
    x[0, 17] = 1
    assert np.abs(Rotation(n, seed=3).apply(x)).max() < 5 / np.sqrt(n)


def test_seeds_differ_and_repeat() -> None:
    x = np.random.default_rng(0).standard_normal((1, 96)).astype(np.float32)
    first = Rotation(96, seed=1).apply(x)
    np.testing.assert_array_equal(Rotation(96, seed=1).apply(x), first)
    assert np.abs(Rotation(96, seed=2).apply(x) - first).max() > 0.1


def test_hadamard_matrices() -> None:
    for size in (1, 2, 8, 64):
        h = hadamard(size).astype(np.float64)
        np.testing.assert_array_equal(h, h.T)
        np.testing.assert_allclose(np.abs(h), size**-0.5, rtol=1e-6)
        np.testing.assert_allclose(h @ h, np.eye(size), atol=1e-6)


def test_a_large_odd_factor_is_refused() -> None:
    with pytest.raises(HardcastError, match="cannot rotate 4098 channels: .* odd factor is 2049"):
        Rotation(4098, seed=0)
    Rotation(2 * 3, seed=0)


# Folded into a model

NOT_ROTATED = {"gemma3", "olmo2"}  # gains stand between their matrices and the residual


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_model_with_norms_behind_stays_as_it_is(architecture: str, tmp_path: Path) -> None:
    checkpoint, program = opened(tmp_path, architecture)
    source = chip_basis(checkpoint, program, rotate=True)
    rotated = HEAD_ROTATION in source.program.matrices()
    assert rotated == can_rotate(program) == (architecture not in NOT_ROTATED)


def opened(folder: Path, architecture: str, **overrides: Any) -> tuple[Checkpoint, Program]:
    checkpoint = open_checkpoint(str(tiny.write_safetensors(folder, architecture, **overrides)))
    return checkpoint, models.build_program(checkpoint.config)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", sorted(set(tiny.ARCHITECTURES) - NOT_ROTATED))
def test_a_rotated_model_says_the_same(architecture: str, tied: bool, tmp_path: Path) -> None:
    """With the biases of Qwen 2, the head norms of Qwen 3, heads that share keys and a window."""
    checkpoint, program = opened(tmp_path, architecture, tie_word_embeddings=tied)
    plain, rotated = Plain(checkpoint, program), Rotated(checkpoint, program)
    assert plain.program == program
    added = set(rotated.program.matrices()) - set(program.matrices())
    assert added == ({HEAD_ROTATION} if tied else set())
    tokens = np.random.default_rng(0).integers(0, 1009, 40)
    expected = FloatModel(program, checkpoint.config, plain.tensor).logits(tokens)
    found = FloatModel(rotated.program, checkpoint.config, rotated.tensor).logits(tokens)
    assert expected.std() > 1
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_size": 56, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 10},
        {"hidden_size": 75, "head_dim": 6, "intermediate_size": 33},
        {"num_key_value_heads": 4, "num_hidden_layers": 3, "sliding_window": 9},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    ],
)
def test_odd_sizes_rotate(sizes: dict[str, Any], tmp_path: Path) -> None:
    checkpoint, program = opened(tmp_path, "llama", **sizes)
    rotated = Rotated(checkpoint, program)
    tokens = np.random.default_rng(0).integers(0, 1009, 30)
    plain = FloatModel(program, checkpoint.config, Plain(checkpoint, program).tensor)
    found = FloatModel(rotated.program, checkpoint.config, rotated.tensor).logits(tokens)
    np.testing.assert_allclose(found, plain.logits(tokens), atol=2e-3)


@pytest.mark.parametrize("tied", [True, False])
def test_every_tensor_has_its_shape_and_its_rows_are_the_wholes(tied: bool, tmp_path: Path) -> None:
    checkpoint, program = opened(tmp_path, "qwen2", tie_word_embeddings=tied)
    rotated = Rotated(checkpoint, program)
    gains = {step.gain for step in program.steps if isinstance(step, Norm)}
    for name, shape in models.tensor_shapes(rotated.program).items():
        whole = rotated.tensor(name)
        assert whole.shape == shape and whole.dtype == np.float32
        assert rotated.grid(name) is None
        if name in gains:
            assert (whole == 1).all()
        if name in rotated.program.matrices():
            assert name == HEAD_ROTATION or not np.allclose(
                whole, Plain(checkpoint, program).tensor(name)
            )
            for rows in (slice(0, 1), slice(3, 20), slice(shape[0] - 5, shape[0] + 9)):
                np.testing.assert_allclose(rotated.tensor(name, rows), whole[rows], atol=1e-6)


def test_another_seed_is_another_basis(tmp_path: Path) -> None:
    checkpoint, program = opened(tmp_path, "llama")
    one, two = Rotated(checkpoint, program), Rotated(checkpoint, program, seed=7)
    assert not np.allclose(one.tensor("layers.0.up_proj"), two.tensor("layers.0.up_proj"))
    again = Rotated(checkpoint, program).tensor("layers.0.up_proj")
    np.testing.assert_array_equal(again, one.tensor("layers.0.up_proj"))


def test_plain_tensors_are_the_checkpoints(tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "m.gguf", "llama")
    checkpoint = open_checkpoint(str(path))
    plain = Plain(checkpoint, models.build_program(checkpoint.config))
    stored = checkpoint.tensor("model.layers.0.mlp.up_proj.weight")
    np.testing.assert_array_equal(plain.tensor("layers.0.up_proj", slice(2, 9)), stored[2:9])
    found = plain.grid("layers.0.up_proj", slice(2, 9))
    assert found is not None and found.codes.shape == (7, 96) and found.bits == 4
