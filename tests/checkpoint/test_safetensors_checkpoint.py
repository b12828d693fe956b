"""Safetensors folders: the weights as written, config.json as transformers reads it, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.config import Layer, ModelConfig
from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling
from tests import tiny


def refused(folder: Path) -> str:
    """The one line with which the folder is refused."""
    with pytest.raises(HardcastError) as caught:
        checkpoint = open_checkpoint(folder)
        for name in checkpoint.names():
            checkpoint.tensor(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def config_of(folder: Path, **changes: Any) -> ModelConfig:
    """The config after keys of config.json were changed (None takes a key out)."""
    edit(folder, **changes)
    return open_checkpoint(folder).config


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_weights_are_as_written(
    tmp_path: Path, architecture: str, sharded: bool, tied: bool
) -> None:
    tiny.write_safetensors(tmp_path, architecture, sharded=sharded, tie_word_embeddings=tied)
    checkpoint = open_checkpoint(tmp_path)
    wanted = tiny.tensors(architecture, tie_word_embeddings=tied)
    assert set(checkpoint.names()) == set(wanted)
    for name, array in wanted.items():
        assert checkpoint.shape(name) == array.shape
        np.testing.assert_array_equal(checkpoint.tensor(name), array, err_msg=name)
        part = checkpoint.tensor(name, slice(7, 19))
        np.testing.assert_array_equal(part, array[7:19], err_msg=name)
        assert checkpoint.grid(name) is None


def test_agrees_with_the_safetensors_package(tmp_path: Path) -> None:
    from safetensors import safe_open

    tiny.write_safetensors(tmp_path, "qwen2", dtype="F16")
    checkpoint = open_checkpoint(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as file:
        assert set(file.keys()) == set(checkpoint.names())
        for name in file.keys():  # noqa: SIM118
            wanted = file.get_tensor(name).astype(np.float32)
            np.testing.assert_array_equal(checkpoint.tensor(name), wanted)


def test_bfloat16_is_exact(tmp_path: Path) -> None:
    values = np.array([[1.0, -2.5, 3.0e38, 1e-38], [0.0, -0.0, 1.0078125, 65280.0]], np.float32)
    array = np.zeros((1009, 96), np.float32)
    array[:2, :4] = values
    array.view(np.uint32)[:] &= 0xFFFF0000  # values that bfloat16 holds
    weights = {"model.embed_tokens.weight": array}
    tiny.write_safetensors(tmp_path, "llama", dtype="BF16", weights=weights)
    found = open_checkpoint(tmp_path).tensor("model.embed_tokens.weight")
    np.testing.assert_array_equal(found.view(np.uint32), array.view(np.uint32))


def test_config_defaults_and_versions(tmp_path: Path) -> None:
    tiny.write_safetensors(tmp_path, "llama", num_key_value_heads=4)
    config = config_of(tmp_path, num_key_value_heads=None, head_dim=None, rope_theta=None)
    assert config.num_key_value_heads == 4
    assert config.head_dim == 24
    assert config.rope_theta == 10000.0
    assert config_of(tmp_path, tie_word_embeddings=None).tie_word_embeddings
    version5 = {"rope_type": "default", "rope_theta": 5e5}
    config = config_of(tmp_path, rope_parameters=version5)
    assert (config.rope_theta, config.rope_scaling) == (5e5, None)
    linear = {"type": "linear", "factor": 4.0}
    config = config_of(tmp_path, rope_parameters=None, rope_scaling=linear)
    assert config.rope_scaling == RopeScaling(kind="linear", factor=4.0)
    llama3 = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    scaling = config_of(tmp_path, rope_scaling=llama3).rope_scaling
    assert scaling == RopeScaling("llama3", 32.0, 1.0, 4.0, 8192)
    version5 = {**llama3, "rope_theta": 5e5}
    config = config_of(tmp_path, rope_scaling=None, rope_parameters=version5)
    assert (config.rope_theta, config.rope_scaling) == (5e5, scaling)


def test_biases_by_family(tmp_path: Path) -> None:
    """transformers' Qwen 2 has its three biases whatever attention_bias says."""
    qkv = ("q_proj", "k_proj", "v_proj")
    for architecture, wanted in (("llama", (*qkv, "o_proj")), ("qwen3", (*qkv, "o_proj"))):
        folder = tmp_path / architecture
        tiny.write_safetensors(folder, architecture, attention_bias=True)
        assert open_checkpoint(folder).config.biases == wanted
    qwen2 = tiny.write_safetensors(tmp_path / "qwen2", "qwen2")
    for said in (True, False):
        config = config_of(qwen2, attention_bias=said)
        assert config.biases == ()
        assert f"model.layers.0.self_attn.{qkv[0]}.bias" in config.tensor_shapes()
    edit(qwen2, attention_bias=None, mlp_bias=True)
    assert "mlp_bias true is not supported for qwen2" in refused(qwen2)


def test_rope_is_read_in_the_order_of_transformers(tmp_path: Path) -> None:
    """rope_scaling before rope_parameters, the table before what stands beside it."""
    tiny.write_safetensors(tmp_path, "llama", rope_theta=123.0)
    tables = {
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 77.0},
    }
    config = config_of(tmp_path, **tables)
    assert (config.rope_theta, config.rope_scaling) == (123.0, RopeScaling("linear", factor=2.0))
    config = config_of(tmp_path, rope_scaling=None)
    assert (config.rope_theta, config.rope_scaling) == (77.0, RopeScaling("linear", factor=3.0))
    llama3 = {"type": "llama3", "factor": 4, "low_freq_factor": 1, "high_freq_factor": 4}
    config = config_of(tmp_path, rope_scaling=llama3, max_position_embeddings=512)
    assert config.rope_scaling == RopeScaling("llama3", 4.0, 1.0, 4.0, 512)
    config = config_of(tmp_path, original_max_position_embeddings=64)
    assert config.rope_scaling == RopeScaling("llama3", 4.0, 1.0, 4.0, 64)
    edit(tmp_path, rope_scaling={"full_attention": {"rope_type": "default"}})
    assert "gives 'full_attention' a RoPE of its own" in refused(tmp_path)


def test_sliding_window(tmp_path: Path) -> None:
    mistral = tiny.write_safetensors(tmp_path / "m", "llama", model_type="mistral")
    assert config_of(mistral).architecture == "llama"
    assert config_of(mistral, sliding_window=4096).sliding_window == 4096
    llama = tiny.write_safetensors(tmp_path / "l", "llama")
    assert config_of(llama, sliding_window=4096).sliding_window is None
    qwen = tiny.write_safetensors(tmp_path / "q", "qwen2")
    assert config_of(qwen, sliding_window=100, use_sliding_window=False).sliding_window is None
    on = {"sliding_window": 100, "use_sliding_window": True}
    assert config_of(qwen, **on, max_window_layers=2).sliding_window is None
    assert config_of(qwen, **on, max_window_layers=0).sliding_window == 100
    assert config_of(qwen, **on, max_window_layers=1).layers == (Layer(), Layer(100))
    sliding, full = "sliding_attention", "full_attention"
    assert config_of(qwen, layer_types=[sliding, full]).layers == (Layer(100), Layer())
    edit(mistral, layer_types=[sliding, full])
    assert "1 of 2 layers" in refused(mistral)
    assert config_of(qwen, layer_types=[sliding, sliding]).sliding_window == 100
    assert config_of(qwen, layer_types=[full, full]).sliding_window is None
    edit(qwen, layer_types=[sliding, sliding], use_sliding_window=False)
    assert "2 of 2 layers with no sliding_window" in refused(qwen)
    edit(qwen, layer_types=[full, "chunked_attention"])
    assert "layer_types holds 'chunked_attention'" in refused(qwen)
    edit(qwen, layer_types=[full])
    assert "expected one of 2 layers each" in refused(qwen)


def test_layers_without_rope(tmp_path: Path) -> None:
    folder = tiny.write_safetensors(tmp_path / "s", "smollm3", num_hidden_layers=5)
    turned, still = Layer(), Layer(None, None)
    assert config_of(folder).layers == (turned, turned, turned, still, turned)
    every_other = config_of(folder, no_rope_layer_interval=2)
    assert every_other.layers == (turned, still, turned, still, turned)
    stated = config_of(folder, no_rope_layers=[0, 1, 1, 1, 1, 0])
    assert stated.layers == (still, turned, turned, turned, turned)
    assert config_of(folder, no_rope_layers=[1] * 5).layers == ()
    window = config_of(
        folder, no_rope_layers=[1, 0, 1, 1, 1], use_sliding_window=True, sliding_window=7
    )
    assert window.layers == (turned, Layer(7, None), turned, turned, turned)
    for bad, part in (([1], "one of 5 layers each"), ([2] * 5, "no_rope_layers holds 2")):
        edit(folder, no_rope_layers=bad)
        assert part in refused(folder)


def test_a_window_that_config_json_leaves_to_the_library(tmp_path: Path) -> None:
    """Mistral's default is 4096 positions; null says that there is no window."""
    mistral = tiny.write_safetensors(tmp_path, "llama", model_type="mistral")
    assert open_checkpoint(mistral).config.sliding_window == 4096
    path = mistral / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sliding_window": None}))
    assert open_checkpoint(mistral).config.sliding_window is None


@pytest.mark.parametrize(
    "name",
    [
        "model_type",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
    ],
)
def test_missing_field_is_named(tmp_path: Path, name: str) -> None:
    tiny.write_safetensors(tmp_path, "llama")
    edit(tmp_path, **{name: None})
    message = refused(tmp_path)
    assert f"the field {name} is missing" in message
    assert "config.json" in message


@pytest.mark.parametrize(
    "changes, wanted",
    [
        (
            {"model_type": "gpt_neox"},
            "'gpt_neox' is not supported; supported are gemma3_text, llama, mistral",
        ),
        ({"hidden_size": "96"}, "hidden_size is '96', expected an integer"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000, expected 1 to"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000, expected 1 to"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_key_value_heads": 3}, "no multiple"),
        ({"head_dim": 23}, "head_dim 23 is odd"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"attention_bias": True}, "layers.0.self_attn.q_proj.bias is missing"),
        ({"mlp_bias": True}, "layers.0.mlp.gate_proj.bias is missing"),
        ({"model_type": "mistral", "attention_bias": True}, "attention_bias true is not supported"),
        ({"rope_scaling": {"rope_type": "ntk", "factor": 4.0}}, "RoPE scaling 'ntk'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "the field factor is missing"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor is 0"),
        ({"rope_scaling": 4}, "expected an object"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps is too large"),
        ({"vocab_size": 1010}, "model.embed_tokens.weight has shape [1009, 96]"),
        ({"num_hidden_layers": 3}, "model.layers.2.input_layernorm.weight is missing"),
        ({"num_hidden_layers": 1}, "is no part of a llama model"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
    ],
)
def test_config_is_refused(tmp_path: Path, changes: dict[str, Any], wanted: str) -> None:
    tiny.write_safetensors(tmp_path, "llama")
    edit(tmp_path, **changes)
    assert wanted in refused(tmp_path)


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    folder = tiny.write_safetensors(tmp_path / "m", "llama", sharded=True)
    second = folder / "model-00002-of-00002.safetensors"
    data = second.read_bytes()
    second.unlink()
    assert f"{second}: this shard is missing" in refused(folder)
    second.write_bytes(data[: len(data) // 2])
    assert "past the end of the file" in refused(folder)
    second.write_bytes(data)
    index = folder / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"]["model.norm.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(values))
    assert "model.norm.weight is missing from this shard" in refused(folder)
    values["weight_map"]["model.norm.weight"] = "../../etc/passwd"
    index.write_text(json.dumps(values))
    assert "no file name of a shard" in refused(folder)
    index.unlink()
    assert "index.json: not found" in refused(folder)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    assert "model.safetensors: not found" in refused(folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert "never loaded" in refused(folder)
    (folder / "config.json").unlink()
    assert "config.json: not found" in refused(folder)


@pytest.mark.parametrize(
    "header, wanted",
    [
        (b"", "4 bytes after the header are no tensor's"),
        (b"[1, 2]", "a JSON object was expected"),
        (b'{"a": ', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": 5}', "header entry is malformed"),
        (b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', "no whole numbers"),
        (b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}', "4 bytes for F32"),
        (b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 1e9]}}', "no whole numbers"),
        (b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}', "past the end"),
        (b'{"a": {"dtype": "F32", "shape": [1, 1], "data_offsets": [4, 0]}}', "before it begins"),
        (b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 4]}}', "4 bytes for F32"),
        (b'{"a": {"dtype": 5, "shape": [1], "data_offsets": [0, 4]}}', "no name"),
        (b'{"a": {"dtype": "F16", "shape": [1], "data_offsets": [2, 4]}}', "but the header ends"),
        (b'{"a": {"dtype": "F16", "dtype": "F32"}}', "'dtype' appears twice"),
        (b'{"a": 1, "b": 2, "a": 1}', "'a' appears twice"),
    ],
)
def test_hostile_header(tmp_path: Path, header: bytes, wanted: str) -> None:
    tiny.write_safetensors(tmp_path, "llama")
    text = header or b"{}"
    data = len(text).to_bytes(8, "little") + text + bytes(4)
    (tmp_path / "model.safetensors").write_bytes(data)
    assert wanted in refused(tmp_path)


def test_a_folder_around_the_model_is_answered_with_it(tmp_path: Path) -> None:
    """The hub cache's outer folder, its snapshots, or a folder of folders."""
    outer = tmp_path / "models--a--b"
    inner = tiny.write_safetensors(outer / "snapshots" / "abc", "llama")
    for folder in (outer, outer / "snapshots"):
        assert refused(folder).endswith(f"give {inner}")
    file = tiny.write_gguf(tmp_path / "files" / "q4" / "m.gguf", "llama")
    assert refused(tmp_path / "files").endswith(f"give {file}")


def test_header_length_beyond_the_file(tmp_path: Path) -> None:
    tiny.write_safetensors(tmp_path, "llama")
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + b"{}")
    assert "no safetensors file" in refused(tmp_path)
    path.write_bytes(b"\x01")
    assert "no safetensors file" in refused(tmp_path)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, dtype: str, value: float) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    array = tiny.tensors("llama")[name].copy()
    array[5, 6] = value
    tiny.write_safetensors(tmp_path, "llama", dtype=dtype, weights={name: array})
    message = refused(tmp_path)
    assert name in message
    assert "[5, 6]" in message


def test_dtype_is_refused_by_name(tmp_path: Path) -> None:
    tiny.write_safetensors(tmp_path, "llama")
    path = tmp_path / "model.safetensors"
    data = path.read_bytes().replace(b'"dtype": "F32"', b'"dtype": "F8_E4M3"', 1)
    length = int.from_bytes(data[:8], "little") + len("F8_E4M3") - len("F32")
    path.write_bytes(length.to_bytes(8, "little") + data[8:])
    assert "dtype F8_E4M3; supported are F64, F32, F16, BF16" in refused(tmp_path)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_flipped_bytes_never_escape(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "fuzzed"
    if not folder.exists():
        tiny.write_safetensors(folder, "llama", num_hidden_layers=1, vocab_size=300)
        (folder / "whole").write_bytes((folder / "model.safetensors").read_bytes())
    changed = bytearray((folder / "whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, data.draw(st.sampled_from([8, 400, 1500]))))
        changed[position] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(0, len(changed) - 1)) :]
    (folder / "model.safetensors").write_bytes(changed)
    try:
        checkpoint = open_checkpoint(folder)
        for name in checkpoint.names():
            checkpoint.tensor(name)
    except HardcastError as error:
        assert "\n" not in str(error)
