"""Rows that a file holds in another order, together, or under another unit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hardcast.checkpoint import open_checkpoint
from hardcast.numerics.rope import RopeScaling, yarn_attention
from tests import tiny

PREFIX = "model.layers.1."
TOGETHER = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
TOGETHER += ("mlp.gate_proj", "mlp.up_proj")


@pytest.mark.parametrize("role", TOGETHER)
@pytest.mark.parametrize("rows", [slice(None), slice(7, 31), slice(46, 48), slice(20, 400)])
def test_rows_of_a_split_matrix_keep_their_grid(tmp_path: Path, role: str, rows: slice) -> None:
    checkpoint = open_checkpoint(tiny.write_gguf(tmp_path / "m.gguf", "phi3"))
    name = f"{PREFIX}{role}.weight"
    whole = checkpoint.tensor(name)
    np.testing.assert_allclose(whole, tiny.tensors("phi3")[name], atol=0.1)  # Q4_1 of the same
    np.testing.assert_array_equal(checkpoint.tensor(name, rows), whole[rows])
    grid = checkpoint.grid(name, rows)
    assert grid is not None and grid.minimum is not None and checkpoint.grid_form(name)
    scale, minimum = (np.repeat(part, 32, axis=1) for part in (grid.scale, grid.minimum))
    np.testing.assert_array_equal(grid.codes * scale + minimum, whole[rows])


def test_a_factor_goes_into_the_turned_rows_of_q(tmp_path: Path) -> None:
    """Cosine and sine times m: a score of two turned channels is m^2 times itself."""
    plain = open_checkpoint(tiny.write_gguf(tmp_path / "a.gguf", "phi3"))
    metadata = {"phi3.rope.scaling.attn_factor": 1.25}
    scaled = open_checkpoint(tiny.write_gguf(tmp_path / "b.gguf", "phi3", metadata=metadata))
    turned = np.tile(np.arange(12) < 9, 2 * 4)  # of each half of a head, three quarters
    name = f"{PREFIX}self_attn.q_proj.weight"
    of_rows = np.where(turned, np.float32(1.5625), np.float32(1))[:, None]
    np.testing.assert_array_equal(scaled.tensor(name), plain.tensor(name) * of_rows)
    one, other = plain.grid(name), scaled.grid(name)
    assert one is not None and other is not None
    np.testing.assert_array_equal(one.codes, other.codes)
    np.testing.assert_array_equal(other.scale, one.scale * of_rows)
    for name in plain.names():
        if not name.endswith("q_proj.weight"):
            np.testing.assert_array_equal(scaled.tensor(name), plain.tensor(name), err_msg=name)


def test_yarn_of_a_gguf_file(tmp_path: Path) -> None:
    metadata = {
        "qwen2.rope.scaling.type": "yarn",
        "qwen2.rope.scaling.factor": 4.0,
        "qwen2.rope.scaling.original_context_length": 64,
        "qwen2.rope.scaling.yarn_beta_fast": 16.0,
    }
    path = tiny.write_gguf(tmp_path / "m.gguf", "qwen2", metadata=metadata, quant="F32")
    checkpoint = open_checkpoint(path)
    assert checkpoint.config.rope_scaling == RopeScaling(
        "yarn",
        4.0,
        original_max_position_embeddings=64,
        beta_fast=16.0,
        attention_factor=yarn_attention(4.0),
    )
    assert checkpoint.notes == []
    square = np.float32(yarn_attention(4.0) ** 2)
    drawn = tiny.tensors("qwen2")
    for end in ("weight", "bias"):
        name = f"{PREFIX}self_attn.q_proj.{end}"
        np.testing.assert_array_equal(checkpoint.tensor(name), drawn[name] * square)


def test_longrope_takes_the_factors_of_the_chips_context(tmp_path: Path) -> None:
    short, long = (np.linspace(1, last, 9, dtype=np.float32) for last in (2, 9))
    weights = {"rope_factors_short.weight": short, "rope_factors_long.weight": long}
    metadata = {"phi3.rope.scaling.original_context_length": 64}
    path = tiny.write_gguf(tmp_path / "m.gguf", "phi3", weights=weights, metadata=metadata)
    config = open_checkpoint(path).config
    plain = dataclasses.replace(config, rope_scaling=None).frequencies("rope")
    for context, factors in ((64, short), (65, long)):
        found = config.for_context(context).frequencies("rope")
        assert found[9:] == [0, 0, 0]
        ratios = [float(a / b) for a, b in zip(plain[:9], found[:9], strict=True)]
        np.testing.assert_allclose(ratios, factors, rtol=1e-6)
    assert config.frequencies("rope") == config.for_context(256).frequencies("rope")
