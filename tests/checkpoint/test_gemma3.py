"""Gemma 3's own ways of saying things: local layers, and a language model beside one for images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.config import Layer, LocalRope
from hardcast.errors import HardcastError
from tests import tiny

SIZES = {"num_hidden_layers": 4, "sliding_window": 7}
LOCAL, GLOBAL = Layer(7, "rope_local"), Layer()


@pytest.mark.parametrize(
    ("overrides", "layers"),
    [
        ({"sliding_window_pattern": 2}, (LOCAL, GLOBAL) * 2),
        ({"sliding_window_pattern": None, "_sliding_window_pattern": 6}, (LOCAL,) * 4),
        (
            {"layer_types": ["full_attention"] + ["sliding_attention"] * 3},
            (GLOBAL, LOCAL, LOCAL, LOCAL),
        ),
    ],
)
def test_layers_of_a_folder(
    tmp_path: Path, overrides: dict[str, object], layers: tuple[Layer, ...]
) -> None:
    more = {"rope_theta": 5e4, "rope_local_base_freq": 300.0, "query_pre_attn_scalar": 40}
    folder = tiny.write_safetensors(tmp_path, "gemma3", **{**SIZES, **more, **overrides})
    config = open_checkpoint(str(folder)).config
    assert config.layers == layers and config.sliding_window is None
    assert (config.rope_theta, config.local_rope) == (5e4, LocalRope(300.0))
    assert config.query_pre_attn_scalar == 40


def test_layers_of_a_gguf_file(tmp_path: Path) -> None:
    """llama.cpp's: every sixth global if the file does not say, the local base is 10000."""
    path = tiny.write_gguf(tmp_path / "a.gguf", "gemma3", **SIZES, rope_theta=1e6)
    assert open_checkpoint(str(path)).config.layers == (LOCAL, GLOBAL) * 2
    without = {**SIZES, "sliding_window_pattern": None, "num_hidden_layers": 7}
    path = tiny.write_gguf(tmp_path / "b.gguf", "gemma3", **without, rope_theta=1e6)
    config = open_checkpoint(str(path)).config
    assert config.layers == (*(LOCAL,) * 5, GLOBAL, LOCAL)
    assert (config.rope_theta, config.local_rope) == (1e6, LocalRope(1e4))


@pytest.mark.parametrize(
    ("prefix", "vision"),
    [
        ("language_model.", "vision_tower.a.weight"),
        ("model.language_model.", "model.multi_modal_projector.b.weight"),
    ],
)
def test_a_model_that_reads_images_gives_its_language_model(
    tmp_path: Path, prefix: str, vision: str
) -> None:
    folder = tiny.write_safetensors(tmp_path / "plain", "gemma3")
    plain = open_checkpoint(str(folder))
    expected = {name: plain.tensor(name) for name in plain.names()}
    stored = {vision: np.zeros((2, 2), np.float32)}
    for name, tensor in expected.items():
        inner = name.removeprefix("model.") if prefix.startswith("model.") else name
        less = np.float32(name.endswith("norm.weight"))
        stored[prefix + inner] = tensor - less
    tiny.save_safetensors(folder / "model.safetensors", stored)
    text = json.loads((folder / "config.json").read_text())
    outer = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 8}}
    (folder / "config.json").write_text(json.dumps(outer))
    found = open_checkpoint(str(folder))
    assert found.config == plain.config and found.names() == list(expected)
    assert all(np.array_equal(found.tensor(n), tensor) for n, tensor in expected.items())
    assert any("language model alone" in note for note in found.notes)


def test_soft_caps_of_gemma_2_are_refused(tmp_path: Path) -> None:
    folder = tiny.write_safetensors(tmp_path, "gemma3", final_logit_softcapping=30.0)
    with pytest.raises(HardcastError, match="final_logit_softcapping is 30.0"):
        open_checkpoint(str(folder))
