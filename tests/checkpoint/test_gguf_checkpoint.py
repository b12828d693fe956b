"""GGUF checkpoints: the same weights as written, exact grids, and lazy reading."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.checkpoint import Checkpoint, open_checkpoint
from hardcast.checkpoint.base import GridForm
from hardcast.checkpoint.gguf_blocks import GRIDS, can_dequantize, dequantize
from hardcast.errors import HardcastError
from hardcast.numerics.rope import RopeScaling
from hardcast.tokenizer import Tokenizer, spec_from_source
from tests import tiny

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def opened(path: Path) -> Checkpoint:
    return open_checkpoint(path)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False])
def test_float_file_gives_the_written_weights(
    tmp_path: Path, architecture: str, tied: bool
) -> None:
    path = tiny.write_gguf(tmp_path / "m.gguf", architecture, quant="F32", tie_word_embeddings=tied)
    checkpoint = opened(path)
    wanted = tiny.tensors(architecture, tie_word_embeddings=tied)
    assert checkpoint.names() == list(checkpoint.config.tensor_shapes())
    assert set(checkpoint.names()) == set(wanted)
    for name, array in wanted.items():
        found = checkpoint.tensor(name)
        assert checkpoint.shape(name) == array.shape
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array, err_msg=name)
        assert checkpoint.grid(name) is None


@pytest.mark.parametrize("heads, kv_heads, head_dim", [(3, 3, 32), (6, 2, 16), (4, 1, 24)])
def test_llama_rows_are_in_hugging_face_order(
    tmp_path: Path, heads: int, kv_heads: int, head_dim: int
) -> None:
    sizes = {
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "num_hidden_layers": 1,
    }
    checkpoint = opened(tiny.write_gguf(tmp_path / "m.gguf", "llama", quant="F32", **sizes))
    for name in ("q_proj", "k_proj", "v_proj"):
        full = f"model.layers.0.self_attn.{name}.weight"
        wanted = tiny.tensors("llama", **sizes)[full]
        np.testing.assert_array_equal(checkpoint.tensor(full), wanted)
        np.testing.assert_array_equal(checkpoint.tensor(full, slice(5, 21)), wanted[5:21])


@pytest.mark.parametrize("mlp_bias", [False, True])
def test_biases_of_a_llama_are_in_hugging_face_order(tmp_path: Path, mlp_bias: bool) -> None:
    """The converter moves the values of q's and k's biases as it moves their rows."""
    sizes = {"attention_bias": True, "mlp_bias": mlp_bias, "num_key_value_heads": 1}
    checkpoint = opened(tiny.write_gguf(tmp_path / "m.gguf", "llama", quant="F32", **sizes))
    wanted = tiny.tensors("llama", **sizes)
    assert set(checkpoint.names()) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(checkpoint.tensor(name), array, err_msg=name)


def test_biases_are_found_one_matrix_at_a_time(tmp_path: Path) -> None:
    """llama.cpp takes each bias that the file holds; nothing in the metadata says which."""
    dropped = [f"model.layers.{layer}.self_attn.o_proj.bias" for layer in (0, 1)]
    path = tiny.write_gguf(
        tmp_path / "m.gguf", "llama", weights=dict.fromkeys(dropped), attention_bias=True
    )
    assert opened(path).config.biases == ("q_proj", "k_proj", "v_proj")


def test_config(tmp_path: Path) -> None:
    config = opened(tiny.write_gguf(tmp_path / "m.gguf", "llama")).config
    wanted = tiny.config("llama")
    for name in (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
        "rope_theta",
        "tie_word_embeddings",
    ):
        # Equality of the floats too: the file's float32 stands for the shortest decimal.
        assert getattr(config, name) == wanted[name], name
    assert config.architecture == "llama"
    assert config.rope_scaling is None
    assert config.sliding_window is None


def test_rope_scaling_and_window(tmp_path: Path) -> None:
    linear = {"rope_type": "linear", "factor": 2.5}
    path = tiny.write_gguf(tmp_path / "a.gguf", "qwen2", rope_scaling=linear, sliding_window=77)
    config = opened(path).config
    assert config.rope_scaling == RopeScaling(kind="linear", factor=2.5)
    assert config.sliding_window == 77
    path = tiny.write_gguf(tmp_path / "b.gguf", "llama", rope_scaling=LLAMA3_ROPE)
    scaling = opened(path).config.rope_scaling
    assert scaling is not None
    assert scaling.kind == "factors"
    assert len(scaling.factors) == 12
    assert scaling.factors[0] == 1.0
    assert scaling.factors[-1] == 8.0


@pytest.mark.parametrize(
    "metadata, wanted",
    [
        ({"llama.rope.scale_linear": 2.5}, RopeScaling("linear", factor=2.5)),  # files of 2023
        ({"llama.rope.scaling.factor": 2.5}, RopeScaling("linear", factor=2.5)),
        (
            {"llama.rope.scaling.factor": 4.0, "llama.rope.scale_linear": 2.5},
            RopeScaling("linear", factor=4.0),
        ),
        ({"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 2.5}, None),
        ({"llama.rope.scaling.type": "linear"}, None),
        ({"llama.rope.scaling.factor": 0.0}, None),
    ],
)
def test_rope_scaling_as_llama_cpp_takes_it(
    tmp_path: Path, metadata: dict[str, Any], wanted: RopeScaling | None
) -> None:
    checkpoint = opened(tiny.write_gguf(tmp_path / "m.gguf", "llama", metadata=metadata))
    assert checkpoint.config.rope_scaling == wanted
    assert checkpoint.notes == []


def test_a_factor_stretches_stored_factors_too(tmp_path: Path) -> None:
    metadata = {"llama.rope.scaling.factor": 2.0}
    path = tiny.write_gguf(
        tmp_path / "m.gguf", "llama", rope_scaling=LLAMA3_ROPE, metadata=metadata
    )
    scaling = opened(path).config.rope_scaling
    assert scaling is not None and scaling.factors[0] == 2.0 and scaling.factors[-1] == 16.0


def test_sizes_that_are_listed_for_every_layer(tmp_path: Path) -> None:
    metadata = {"llama.attention.head_count_kv": [2, 2], "llama.feed_forward_length": [160, 160]}
    config = opened(tiny.write_gguf(tmp_path / "m.gguf", "llama", metadata=metadata)).config
    assert (config.num_key_value_heads, config.intermediate_size) == (2, 160)
    metadata["llama.attention.head_count_kv"] = [2, 1]
    with pytest.raises(HardcastError, match=r"head_count_kv is \[2, 1\], expected an integer"):
        opened(tiny.write_gguf(tmp_path / "n.gguf", "llama", metadata=metadata))


@pytest.mark.parametrize("quant", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"])
def test_grid_is_exactly_the_dequantized_weights(tmp_path: Path, quant: str) -> None:
    checkpoint = opened(tiny.write_gguf(tmp_path / "m.gguf", "llama", quant=quant))
    kind = gguf.GGMLQuantizationType[quant]
    for name, array in tiny.tensors("llama").items():
        grid = checkpoint.grid(name)
        if array.ndim == 1:
            assert grid is None
            continue
        assert grid is not None
        assert checkpoint.grid_form(name) == GridForm(grid.bits, grid.group_size, grid.codebook)
        eight = quant == "Q8_0" or (quant.startswith("Q4") and "embed" in name)
        assert grid.bits == (8 if eight else 5 if quant.startswith("Q5") else 4)
        assert grid.codes.shape == array.shape
        assert grid.scale.shape == (array.shape[0], array.shape[1] // grid.group_size)
        values = np.repeat(grid.scale, grid.group_size, axis=1) * grid.codes.astype(np.float32)
        if grid.minimum is not None:
            assert grid.codes.min() >= 0 and grid.codes.max() < 1 << grid.bits
            values += np.repeat(grid.minimum, grid.group_size, axis=1)
        found = checkpoint.tensor(name)
        np.testing.assert_array_equal(values, found, err_msg=name)
        if not (quant.startswith("Q4") and "embed" in name):
            # Rows are quantized one by one, so their order does not matter to the package.
            stored = gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind)
            np.testing.assert_array_equal(found, stored, err_msg=name)
        part = checkpoint.grid(name, slice(3, 40))
        assert part is not None
        np.testing.assert_array_equal(part.codes, grid.codes[3:40])
        np.testing.assert_array_equal(part.scale, grid.scale[3:40])


@pytest.mark.parametrize("quant", ["F16", "BF16"])
def test_other_types_equal_the_packages_values(tmp_path: Path, quant: str) -> None:
    checkpoint = opened(tiny.write_gguf(tmp_path / "m.gguf", "qwen3", quant=quant))
    kind = gguf.GGMLQuantizationType[quant]
    for name, array in tiny.tensors("qwen3").items():
        stored = array
        if array.ndim == 2:
            stored = gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind)
            assert checkpoint.grid(name) is None
        np.testing.assert_array_equal(checkpoint.tensor(name), stored, err_msg=name)


def test_block_types_of_the_package() -> None:
    """Rows of random blocks of every type dequantize to whole float32 rows."""
    generator = np.random.default_rng(5)
    done = set()
    for kind in gguf.GGMLQuantizationType:
        if not can_dequantize(kind.name):
            continue
        values, size_bytes = gguf.GGML_QUANT_SIZES[kind]
        stored = generator.integers(0, 256, (3, 2 * size_bytes), dtype=np.uint8)
        found = dequantize(stored, kind.name)
        assert found.dtype == np.float32
        assert found.shape == (3, 2 * values)
        done.add(kind.name)
    assert done >= {"F32", "F16", "BF16", "Q4_0", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}
    assert done >= {"IQ2_XS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0"}
    assert not can_dequantize("I32")


def test_k_quant_file_is_read(tmp_path: Path) -> None:
    """A type that needs rows of 256, dequantized from random blocks with sane scales."""
    sizes = {
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "head_dim": 32,
        "num_hidden_layers": 1,
        "vocab_size": 300,
    }
    path = tiny.write_gguf(tmp_path / "m.gguf", "qwen3", quant="F32", **sizes)
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(tmp_path / "k.gguf", "qwen3")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kinds = [*field.types, None]
            writer.add_key_value(key, field.contents(), kinds[0], kinds[1])
    generator, stored = np.random.default_rng(3), {}
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if "ffn" in tensor.name and data.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q4_K
            data = generator.integers(0, 256, (256, 144), dtype=np.uint8)
            data[:, :4] = np.array([0.01, 0.02], "<f2").view(np.uint8)
            if "gate" in tensor.name:
                data[7, :16] = [0, 124, 0, 124, *[0] * 12]  # infinity times zero
            stored[tensor.name] = data
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    checkpoint = opened(tmp_path / "k.gguf")
    wanted = gguf.quants.dequantize(stored["blk.0.ffn_up.weight"], gguf.GGMLQuantizationType.Q4_K)
    found = checkpoint.tensor("model.layers.0.mlp.up_proj.weight")
    np.testing.assert_array_equal(found, wanted)
    part = checkpoint.tensor("model.layers.0.mlp.up_proj.weight", slice(100, 107))
    np.testing.assert_array_equal(part, wanted[100:107])
    with warnings.catch_warnings(), pytest.raises(HardcastError, match="gate.*scales. holds nan"):
        warnings.simplefilter("error")  # NumPy's would stand beside our line
        checkpoint.grid("model.layers.0.mlp.gate_proj.weight")


def test_one_tensor_at_a_time(tmp_path: Path) -> None:
    """Opening reads no weight, and a piece of a matrix costs memory for that piece."""
    path = tiny.write_gguf(tmp_path / "m.gguf", "llama", quant="F32", vocab_size=40000)
    opened(path)  # imports
    tracemalloc.start()
    checkpoint = opened(path)
    checkpoint.metadata.clear()  # type: ignore[attr-defined]
    tracemalloc.reset_peak()
    held = tracemalloc.get_traced_memory()[0]
    checkpoint.tensor("model.embed_tokens.weight", slice(0, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    matrix_bytes = 40000 * 96 * 4
    assert held < matrix_bytes / 4
    assert peak - held < 3 * 1000 * 96 * 4 + 100_000


def test_unknown_tensor_is_named(tmp_path: Path) -> None:
    checkpoint = opened(tiny.write_gguf(tmp_path / "m.gguf", "llama"))
    with pytest.raises(HardcastError, match="no tensor model.layers.7"):
        checkpoint.tensor("model.layers.7.mlp.up_proj.weight")


HALVES = {"Q4_0": 1, "Q5_0": 1, "Q8_0": 1, "IQ4_NL": 1, "IQ4_XS": 1, "MXFP4": 0}  # else 2


@given(
    st.sampled_from(sorted(GRIDS)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_any_bytes_are_the_packages_own_values(
    kind: str, seed: int, rows: int, blocks: int
) -> None:
    """Every type that is a grid as it stands; scales of either sign and of none."""
    rng = np.random.default_rng(seed)
    values, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    stored = rng.integers(0, 256, (rows, blocks, size), dtype=np.uint8)
    scales = rng.normal(0, 0.1, (rows, blocks, HALVES.get(kind, 2))).astype("<f2")
    scales[rng.random(scales.shape) < 0.2] = 0
    stored[..., : scales.shape[2] * 2] = scales.view(np.uint8)
    if kind == "MXFP4":
        stored[..., 0] = rng.integers(0, 250, (rows, blocks))
    stored = stored.reshape(rows, -1)
    grid, form = GRIDS[kind].read(stored), GRIDS[kind].form
    assert (grid.bits, grid.group_size, grid.codebook) == (form.bits, 32, form.codebook)
    assert grid.codes.shape == (rows, values * blocks)
    assert grid.scale.shape == (rows, values * blocks // 32)
    if grid.codebook:
        assert set(np.unique(grid.codes)) <= set(grid.codebook)
    elif grid.minimum is not None:
        assert grid.codes.dtype == np.uint8 and grid.codes.max() < 1 << grid.bits
    found = np.repeat(grid.scale, 32, axis=1) * grid.codes.astype(np.float32)
    if grid.minimum is not None:
        found = found + np.repeat(grid.minimum, 32, axis=1)
    np.testing.assert_array_equal(found, dequantize(stored, kind))


def test_empty_tokens_have_the_names_that_llama_cpp_gives_them(tmp_path: Path) -> None:
    """It renames each as it loads the list, so that several are not one; ids stay."""
    whole = opened(tiny.write_gguf(tmp_path / "m.gguf", "llama")).tokenizer_source()["metadata"]
    tokens = list(whole["tokenizer.ggml.tokens"])
    plain = Tokenizer(spec_from_source({"kind": "gguf", "path": "m", "metadata": whole}))
    used = set(plain.encode("hello there"))
    empty = [index for index in range(len(tokens) - 1, 300, -1) if index not in used][:3]
    for index in empty:
        tokens[index] = ""
    path = tiny.write_gguf(tmp_path / "e.gguf", "llama", metadata={"tokenizer.ggml.tokens": tokens})
    source = opened(path).tokenizer_source()
    assert [source["metadata"]["tokenizer.ggml.tokens"][index] for index in empty] == [
        f"[EMPTY_{index}]" for index in empty
    ]
    tokenizer = Tokenizer(spec_from_source(source))
    assert tokenizer.decode(empty) == "".join(f"[EMPTY_{index}]" for index in empty)
    assert tokenizer.encode("hello there") == plain.encode("hello there")
