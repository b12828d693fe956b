"""Damaged, hostile and unsupported GGUF files: one clear line, little memory, no traceback."""

from __future__ import annotations

import struct
import tempfile
import time
import tracemalloc
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.gguf_header import read_header
from hardcast.errors import HardcastError
from hardcast.tokenizer import Tokenizer, spec_from_source
from tests import tiny


def refused(path: Path) -> str:
    """The one line with which the file is refused."""
    with pytest.raises(HardcastError) as caught:
        checkpoint = open_checkpoint(path)
        for name in checkpoint.names():
            checkpoint.tensor(name)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@lru_cache(maxsize=1)
def whole_file() -> tuple[bytes, int]:
    """A good file and the length of its header."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"vocab_size": 300, "num_hidden_layers": 1}
        path = tiny.write_gguf(Path(folder) / "m.gguf", "llama", quant="Q4_0", **sizes)
        first = min(entry.offset for entry in read_header(path).tensors.values())
        return path.read_bytes(), first


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def header(tensors: int, metadata: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, metadata) + rest


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@pytest.mark.parametrize("kept", [1, 4, 20, 100, 5000, 20000, -1, -4000])
def test_truncated(tmp_path: Path, kept: int) -> None:
    message = refused(write(tmp_path / "m.gguf", whole_file()[0][:kept]))
    assert "truncated" in message or "no GGUF file" in message


def test_empty_and_wrong_magic(tmp_path: Path) -> None:
    assert "empty" in refused(write(tmp_path / "m.gguf", b""))
    assert "no GGUF file" in refused(write(tmp_path / "m.gguf", b"PK\x03\x04" + bytes(100)))
    assert "big-endian" in refused(
        write(tmp_path / "m.gguf", b"GGUF" + struct.pack(">IQQ", 3, 1, 1))
    )
    assert "version 1 is not supported" in refused(
        write(tmp_path / "m.gguf", header(0, 0, bytes(40), version=1))
    )


@pytest.mark.parametrize(
    "data",
    [
        header(1 << 62, 0),
        header(0, 1 << 62),
        header((1 << 64) - 1, (1 << 64) - 1),
        # one entry: an array of 2^40 texts, of 2^60 numbers, of 2^59 arrays
        header(0, 1, text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 40)),
        header(0, 1, text(b"k") + struct.pack("<IIQ", 9, 4, 1 << 60)),
        header(0, 1, text(b"k") + struct.pack("<IIQ", 9, 9, 1 << 59)),
        # a key and a value longer than the file
        header(0, 1, struct.pack("<Q", 1 << 50)),
        header(0, 1, text(b"k") + struct.pack("<IQ", 8, (1 << 64) - 1)),
        # arrays in arrays without end
        header(0, 1, text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 1000),
        # an unknown type; a tensor with 2^32 - 1 dimensions
        header(0, 1, text(b"k") + struct.pack("<I", 99) + bytes(50)),
        header(1, 0, text(b"t") + struct.pack("<I", 0xFFFFFFFF) + bytes(50)),
    ],
)
def test_absurd_counts_cost_nothing(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "m.gguf", data + bytes(64))
    tracemalloc.start()
    start = time.perf_counter()
    try:
        refused(path)
        assert time.perf_counter() - start < 1.0
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def tensor_file(shape: tuple[int, ...], kind: int, offset: int, data: int = 4096) -> bytes:
    entry = text(b"token_embd.weight") + struct.pack("<I", len(shape))
    entry += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)
    return header(1, 0, entry) + bytes(data)


def test_tensor_past_the_end_is_named(tmp_path: Path) -> None:
    for shape, offset in [
        ((1 << 20, 1 << 20), 0),
        ((32, 2), 1 << 40),
        ((32, 1 << 60), 0),
        ((1 << 63, 1 << 63, 1 << 63, 1 << 63), 0),
    ]:
        message = refused(write(tmp_path / "m.gguf", tensor_file(shape, 0, offset)))
        assert "token_embd.weight" in message
        assert "past the end of the file" in message


def test_malformed_tensor_entries(tmp_path: Path) -> None:
    assert "type number 777" in refused(write(tmp_path / "m.gguf", tensor_file((32, 2), 777, 0)))
    assert "no multiple of Q4_0's block" in refused(
        write(tmp_path / "m.gguf", tensor_file((33, 2), 2, 0))
    )
    assert "offset 7" in refused(write(tmp_path / "m.gguf", tensor_file((32, 2), 0, 7)))
    twice = text(b"k") + struct.pack("<IB", 0, 1)
    assert "appears twice" in refused(
        write(tmp_path / "m.gguf", header(0, 2, twice + twice + bytes(64)))
    )
    alignment = text(b"general.alignment") + struct.pack("<II", 4, 0)
    assert "general.alignment" in refused(
        write(tmp_path / "m.gguf", header(0, 1, alignment + bytes(64)))
    )


@pytest.mark.parametrize(
    "metadata, wanted",
    [
        (
            {"general.architecture": "gpt2"},
            "'gpt2' is not supported; supported are gemma3_text, llama",
        ),
        ({"general.architecture": None}, "general.architecture is missing"),
        ({"llama.block_count": None}, "block_count is missing"),
        ({"llama.block_count": "two"}, "block_count is 'two', expected an integer"),
        ({"llama.block_count": 1 << 30}, "num_hidden_layers is 1073741824"),
        ({"llama.attention.head_count": 0}, "num_attention_heads is 0"),
        ({"llama.attention.head_count_kv": 3}, "no multiple of num_key_value_heads"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon is missing"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "rms_norm_eps is nan"),
        ({"llama.rope.freq_base": -1.0}, "rope_theta is -1.0"),
        ({"llama.rope.dimension_count": 12}, "rope.dimension_count is 12"),
        ({"llama.rope.scaling.type": "ntk"}, "supported are none, linear, yarn, longrope"),
        ({"llama.rope.scaling.type": "longrope"}, "rope_factors_short.weight is missing"),
        ({"llama.rope.scaling.yarn_beta_slow": 40.0}, "expected 0 < slow <= fast"),
        ({"llama.expert_count": 8}, "mixture-of-experts"),
        ({"split.count": 3}, "llama-gguf-split --merge"),
        ({"llama.feed_forward_length": 192}, "has shape [160, 96], its config says [192, 96]"),
    ],
)
def test_metadata(tmp_path: Path, metadata: dict[str, Any], wanted: str) -> None:
    assert wanted in refused(tiny.write_gguf(tmp_path / "m.gguf", "llama", metadata=metadata))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_missing_tensor_is_named(tmp_path: Path, architecture: str) -> None:
    role = "gate_up_proj" if architecture == "phi3" else "up_proj"
    weights = {f"model.layers.1.mlp.{role}.weight": None}
    path = tiny.write_gguf(tmp_path / "m.gguf", architecture, weights=weights)
    assert f"model.layers.1.mlp.{role}.weight is missing" in refused(path)


def test_tensor_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    """A file with a tensor more is another model: an output bias of Qwen 2, a bias in one layer."""
    weights = {"model.layers.0.self_attn.o_proj.bias": np.ones(96, np.float32)}
    path = tiny.write_gguf(tmp_path / "m.gguf", "qwen2", weights=weights)
    assert "o_proj.bias' is no part of a qwen2 model" in refused(path)
    path = tiny.write_gguf(tmp_path / "n.gguf", "llama", weights=weights)
    assert "layers.1.self_attn.o_proj.bias is missing" in refused(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.self_attn.k_proj.weight"])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float, name: str) -> None:
    array = tiny.tensors("llama")[name].copy()
    array.flat[37] = value
    path = tiny.write_gguf(tmp_path / "m.gguf", "llama", quant="F32", weights={name: array})
    message = refused(path)
    assert name in message
    assert "must be finite" in message


def test_grid_with_an_infinite_scale_is_refused(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    array = tiny.tensors("llama")[name].copy()
    array[3, 3] = 1e30  # beyond the float16 of a block's scale
    with np.errstate(all="ignore"):
        path = tiny.write_gguf(tmp_path / "m.gguf", "llama", quant="Q8_0", weights={name: array})
    assert name in refused(path)
    with pytest.raises(HardcastError, match="up_proj"):
        open_checkpoint(path).grid(name)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_flipped_bytes_never_escape(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes of the header are changed: a model, or a HardcastError."""
    whole, header_bytes = whole_file()
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        # Half of the changes fall on the counts and the first entries.
        limit = data.draw(st.sampled_from([64, 1200, header_bytes]))
        position = data.draw(st.integers(0, limit - 1))
        changed[position] = data.draw(st.integers(0, 255))
    if data.draw(st.integers(0, 3)) == 0:
        del changed[data.draw(st.integers(0, len(changed) - 1)) :]
    path = write(tmp_path / "fuzzed.gguf", bytes(changed))
    try:
        checkpoint = open_checkpoint(path)
        for name in checkpoint.names():
            checkpoint.tensor(name)
            checkpoint.grid(name)
        tokenizer = Tokenizer(spec_from_source(checkpoint.tokenizer_source()))
        tokenizer.decode(tokenizer.encode("What is 12?<|im_end|>"))
    except HardcastError as error:
        assert "\n" not in str(error)


def test_a_large_vocabulary_parses_in_time(tmp_path: Path) -> None:
    """Linear work: 260 thousand tokens, as the largest vocabularies have."""
    tokens = b"".join(text(b"token%d" % index) for index in range(260_000))
    entry = text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 260_000) + tokens
    path = write(tmp_path / "m.gguf", header(0, 1, entry))
    start = time.perf_counter()
    parsed = read_header(path)
    assert len(parsed.metadata["tokenizer.ggml.tokens"]) == 260_000
    assert time.perf_counter() - start < 5.0
