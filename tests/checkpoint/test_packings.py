"""Checkpoints that GPTQ, AWQ, MLX and compressed-tensors quantised: their integers, exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast import flow, models
from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.base import GridForm
from hardcast.checkpoint.packings.packed import unpack
from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.golden import Golden
from hardcast.image import open_image
from hardcast.models import checkpoint_name
from hardcast.quantize.float_forward import FloatModel
from tests.checkpoint import packers


def config_of(method: str, **more: Any) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": method, **more}}


CT = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}}}
V2 = {"checkpoint_format": "gptq_v2"}
GPTQ, MLX = packers.gptq, packers.mlx
NO_INDEX = partial(GPTQ, g_idx=False)
# What is written, config.json's keys, how it is drawn, and the grid that must be found.
KINDS: dict[str, tuple[Callable[..., packers.Tensors], dict[str, Any], dict[str, Any], int]] = {
    "gptq": (GPTQ, config_of("gptq", bits=4, group_size=32, desc_act=False), {}, 32),
    "gptq, symmetric": (GPTQ, config_of("gptq", bits=4, group_size=64), {"symmetric": True}, 64),
    "gptq, a group a row": (GPTQ, config_of("gptq", bits=4, group_size=-1), {"group": -1}, 0),
    "gptq, groups said by nobody": (NO_INDEX, {}, {"group": 64}, 64),
    "gptq v2": (partial(GPTQ, v2=True), config_of("gptq", bits=4, group_size=32, **V2), {}, 32),
    "gptq, 2 bits": (GPTQ, config_of("gptq", bits=2, group_size=64), {"bits": 2}, 64),
    "gptq, 3 bits": (GPTQ, config_of("gptq", bits=3, group_size=64), {"bits": 3}, 64),
    "gptq, 8 bits": (GPTQ, config_of("gptq", bits=8, group_size=32), {"bits": 8}, 32),
    "awq": (packers.awq, config_of("awq", bits=4, group_size=32, version="gemm"), {}, 32),
    "awq, 64": (packers.awq, config_of("awq", bits=4, group_size=64), {"group": 64}, 64),
    "mlx": (MLX, {"quantization": {"group_size": 64, "bits": 4}}, {"group": 64}, 64),
    "mlx said twice": (
        MLX,
        {k: {"group_size": 32, "bits": 4} for k in ("quantization", "quantization_config")},
        {"embedding": True},
        32,
    ),
    "mlx, 3 bits": (MLX, {"quantization": {"group_size": 64, "bits": 3}}, {"bits": 3}, 64),
    "mlx, 6 bits": (MLX, {"quantization": {"group_size": 64, "bits": 6}}, {"bits": 6}, 64),
    "mlx, 8 bits": (MLX, {"quantization": {"group_size": 32, "bits": 8}}, {"bits": 8}, 32),
    "compressed": (packers.compressed, config_of("compressed-tensors", **CT), {}, 32),
    "compressed, symmetric": (
        partial(packers.compressed, symmetric=True),
        config_of("compressed-tensors", **CT),
        {"symmetric": True},
        32,
    ),
    "int8": (
        packers.int8,
        config_of("compressed-tensors", format="int-quantized"),
        {"bits": 8, "group": -1, "symmetric": True},
        0,
    ),
}


def write(folder: Path, kind: str) -> dict[str, packers.Drawn]:
    pack, said, how, group = KINDS[kind]
    return packers.write(folder, pack, said, **{"group": group or -1, **how})


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_grids_are_the_tools_own(kind: str, tmp_path: Path) -> None:
    drawn = write(tmp_path / "m", kind)
    checkpoint = open_checkpoint(str(tmp_path / "m"))
    assert checkpoint.notes == []
    for module, matrix in drawn.items():
        name, group = f"{module}.weight", KINDS[kind][3]
        rows, columns = matrix.codes.shape
        assert checkpoint.shape(name) == (rows, columns)
        np.testing.assert_array_equal(checkpoint.tensor(name), matrix.weights, err_msg=name)
        part = checkpoint.tensor(name, slice(5, 12))
        np.testing.assert_array_equal(part, matrix.weights[5:12], err_msg=name)
        form = checkpoint.grid_form(name)
        assert form == GridForm(matrix.bits, group or columns)
        grid = checkpoint.grid(name, slice(3, rows))
        assert grid is not None and (grid.bits, grid.group_size) == (form.bits, form.group_size)
        signed = grid.minimum is None
        np.testing.assert_array_equal(grid.codes, matrix.codes[3:] - (128 if signed else 0))
        spread = np.arange(columns) // grid.group_size
        found = grid.scale[:, spread] * grid.codes
        if grid.minimum is not None:
            found = found + grid.minimum[:, spread]
        np.testing.assert_array_equal(found, matrix.weights[3:])
    plain = checkpoint.grid_form("model.norm.weight")
    assert plain is None and checkpoint.grid("model.norm.weight") is None


@pytest.mark.parametrize("kind", ["gptq", "gptq, 8 bits", "awq, 64", "mlx said twice", "int8"])
@pytest.mark.parametrize("recipe", [None, "file"])
def test_a_chip_has_the_tools_codes(kind: str, recipe: str | None, tmp_path: Path) -> None:
    drawn = write(tmp_path / "m", kind)
    if recipe is None and next(iter(drawn.values())).bits > 4:
        recipe = "4bit"  # nothing to keep in 4 bits: the default would calibrate
    options = {} if recipe is None else {"recipe": recipe}
    report = flow.build(str(tmp_path / "m"), tmp_path / "i", **options)
    image = open_image(tmp_path / "i")
    image.verify()
    for matrix in (image.matrix(name) for name in image.matrices):
        name = checkpoint_name(matrix.name).removesuffix(".weight")
        if name not in drawn or (recipe == "4bit" and drawn[name].bits > 4):
            continue
        codes, top = drawn[name].codes, (1 << drawn[name].bits) - 1
        turned = np.where(drawn[name].scales[:, drawn[name].group_of] < 0, top - codes, codes)
        middle = 128 if drawn[name].bits == 8 else 0
        np.testing.assert_array_equal(matrix.values(), turned - middle)
        assert matrix.planes == (2 if drawn[name].bits == 8 else 1)
    if recipe is None:
        assert report.notes == ("recipe 4keep: every matrix keeps its own grid, so it is 4bit",)
    tokens = np.random.default_rng(0).integers(0, 1009, 20).tolist()
    logits = Golden(image).session().forward(tokens, "all")
    np.testing.assert_array_equal(Engine(image, 2).session().forward(tokens, "all"), logits)


def test_a_module_of_its_own_bits(tmp_path: Path) -> None:
    """MLX: an entry a module; the embedding with 8 bits, as mixed recipes have it."""
    module, rng = "model.embed_tokens", np.random.default_rng(3)
    wide = packers.draw(rng, (1009, 128), 8, 32)
    settings = {"group_size": 64, "bits": 4, module: {"group_size": 32, "bits": 8}, "other": False}
    more = MLX(module, wide)
    packers.write(tmp_path / "m", MLX, {"quantization": settings}, group=64, more=more)
    checkpoint = open_checkpoint(str(tmp_path / "m"))
    assert checkpoint.grid_form(f"{module}.weight") == GridForm(8, 32)
    np.testing.assert_array_equal(checkpoint.tensor(f"{module}.weight"), wide.weights)


def logits(folder: Path) -> np.ndarray:
    """float32 logits of the model as it was read."""
    checkpoint = open_checkpoint(str(folder))
    model = FloatModel(
        models.build_program(checkpoint.config),
        checkpoint.config,
        lambda name, rows=None: checkpoint.tensor(checkpoint_name(name), rows),
    )
    return np.asarray(model.logits(np.arange(30) * 7))


@pytest.mark.parametrize("role", ["down_proj", "up_proj"])
def test_act_order(role: str, tmp_path: Path) -> None:
    """down_proj's groups come together, since gate and up_proj can follow; no other matrix's do."""
    said = config_of("gptq", bits=4, group_size=32, desc_act=True)
    drawn = packers.write(tmp_path / "m", GPTQ, said, act_order=(role,))
    whole = {f"{module}.weight": matrix.weights for module, matrix in drawn.items()}
    plain = tmp_path / "plain"
    packers.tiny.write_safetensors(
        plain, "qwen2", **packers.tiny.GROUPED, weights=whole, dtype="F32"
    )
    halves = packers.tiny.tensors("qwen2", **packers.tiny.GROUPED)
    halves = {n: a.astype(np.float16).astype(np.float32) for n, a in halves.items()} | whole
    packers.tiny.save_safetensors(plain / "model.safetensors", halves)
    np.testing.assert_allclose(logits(tmp_path / "m"), logits(plain), atol=1e-4)
    checkpoint = open_checkpoint(str(tmp_path / "m"))
    name = f"model.layers.0.mlp.{role}.weight"
    matrix = drawn[name.removesuffix(".weight")]
    if role == "up_proj":
        assert checkpoint.grid_form(name) is None and checkpoint.grid(name) is None
        np.testing.assert_array_equal(checkpoint.tensor(name), matrix.weights)
        assert len(checkpoint.notes) == 1 and "1 matrices are in act-order" in checkpoint.notes[0]
        return
    assert checkpoint.notes == [] and checkpoint.grid_form(name) == GridForm(4, 32)
    order = np.argsort(matrix.group_of, kind="stable")
    np.testing.assert_array_equal(checkpoint.tensor(name), matrix.weights[:, order])
    up = "model.layers.0.mlp.up_proj"
    moved = drawn[up].weights[order]
    np.testing.assert_array_equal(checkpoint.tensor(f"{up}.weight", slice(7, 50)), moved[7:50])


@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_unpacking_is_the_stream_of_bits(bits: int, words: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (3, words * 32))
    np.testing.assert_array_equal(unpack(packers.stream(codes, bits), bits, words * 32), codes)


def test_zeros_of_gptqs_first_format_that_borrowed(tmp_path: Path) -> None:
    """A zero of 0 is stored as -1 and borrows from its neighbour: the whole word is put right."""
    module = "model.layers.0.mlp.up_proj"
    said = config_of("gptq", bits=4, group_size=32)
    drawn = packers.write(tmp_path / "m", GPTQ, said)[module]
    drawn.zeros[::3] = 0
    words = packers.stream(drawn.zeros.T, 4) - np.uint32(0x11111111)
    more = {f"{module}.qzeros": words.view(np.int32)}
    packers.write(tmp_path / "m", GPTQ, said, more=more)
    found = open_checkpoint(str(tmp_path / "m")).tensor(f"{module}.weight")
    np.testing.assert_array_equal(found, drawn.weights)


def test_a_bias_of_zeros_is_none(tmp_path: Path) -> None:
    said, name = config_of("gptq", bits=4, group_size=32), "model.layers.0.self_attn.o_proj.bias"
    packers.write(tmp_path / "m", GPTQ, said, more={name: np.zeros(128)})
    assert name not in open_checkpoint(str(tmp_path / "m")).names()
    packers.write(tmp_path / "m", GPTQ, said, more={name: np.ones(128)})
    with pytest.raises(HardcastError, match="o_proj.bias' is no part"):
        open_checkpoint(str(tmp_path / "m"))


def test_a_bias_of_zeros_that_the_model_has_stays(tmp_path: Path) -> None:
    """Qwen 2 has biases: zeros there, as of a model just initialised, are the model's own."""
    said, name = config_of("gptq", bits=4, group_size=32), "model.layers.0.self_attn.v_proj.bias"
    packers.write(tmp_path / "m", GPTQ, said, act_order=("down_proj",), more={name: np.zeros(64)})
    assert not open_checkpoint(str(tmp_path / "m")).tensor(name).any()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(("kv_heads", "head_dim"), [(1, 16), (3, 8), (1, 8), (1, 40)])
@pytest.mark.parametrize("pack", [GPTQ, NO_INDEX])
def test_few_rows_of_gptq(
    pack: Callable[..., packers.Tensors], kv_heads: int, head_dim: int, bits: int, tmp_path: Path
) -> None:
    """A word's end is reached by 3 bits as by 4: g_idx or the config tells them apart."""
    module, said = "model.layers.0.self_attn.k_proj", config_of("gptq", bits=bits, group_size=32)
    sizes = {"num_attention_heads": 12 // kv_heads * kv_heads, "num_key_value_heads": kv_heads}
    drawn = packers.write(
        tmp_path / "m", pack, said, bits=bits, sizes={**sizes, "head_dim": head_dim}
    )
    found = open_checkpoint(str(tmp_path / "m")).tensor(f"{module}.weight")
    np.testing.assert_array_equal(found, drawn[module].weights)


def test_a_short_last_group_that_nobody_speaks_of(tmp_path: Path) -> None:
    """192 columns in 2 groups are 128 and 64, not 96 twice: groups are powers of two."""
    down = "model.layers.0.mlp.down_proj"
    for pack in (GPTQ, NO_INDEX):
        drawn = packers.write(tmp_path / "m", pack, {}, group=128)
        checkpoint = open_checkpoint(str(tmp_path / "m"))
        np.testing.assert_array_equal(checkpoint.tensor(f"{down}.weight"), drawn[down].weights)
        assert checkpoint.grid_form(f"{down}.weight") == GridForm(4, 128)


@pytest.mark.parametrize(
    ("pack", "said", "index"),
    [
        (GPTQ, config_of("gptq", bits=4, group_size=32), np.zeros(128, np.int32)),
        (GPTQ, config_of("gptq", bits=4, group_size=32), np.zeros(0, np.int32)),
        (packers.compressed, config_of("compressed-tensors", **CT), np.full(128, -1, np.int32)),
        (packers.compressed, config_of("compressed-tensors", **CT), np.full(128, -1, np.int64)),
    ],
)
def test_an_index_that_nobody_filled_in(
    pack: Callable[..., packers.Tensors], said: dict[str, Any], index: np.ndarray, tmp_path: Path
) -> None:
    """ExLlama and compressed-tensors take it as columns in order."""
    module = "model.layers.0.mlp.up_proj"
    end = "g_idx" if pack is GPTQ else "weight_g_idx"
    drawn = packers.write(tmp_path / "m", pack, said, more={f"{module}.{end}": index})
    checkpoint = open_checkpoint(str(tmp_path / "m"))
    np.testing.assert_array_equal(checkpoint.tensor(f"{module}.weight"), drawn[module].weights)
    assert checkpoint.grid_form(f"{module}.weight") == GridForm(4, 32)


UP = "model.layers.0.mlp.up_proj"
G = config_of("gptq", bits=4, group_size=32)
M = {"quantization": {"group_size": 32, "bits": 4}}
C = config_of("compressed-tensors", **CT)
HOSTILE: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "marlin": (GPTQ, config_of("gptq", checkpoint_format="marlin"), {}, "'marlin' is not supp"),
    "gemv": (packers.awq, config_of("awq", version="gemv"), {}, "version 'gemv' is not supported"),
    "a tool of its own": (GPTQ, config_of("warp", bits=4), {}, "by warp \\(4 bits\\)"),
    "another method's word": (GPTQ, config_of("bitsandbytes", load_in_4bit=True), {}, "by bits"),
    "floats for words": (GPTQ, G, {f"{UP}.qweight": np.zeros((16, 192))}, "qweight is F16"),
    "words of another size": (
        GPTQ,
        G,
        {f"{UP}.qweight": np.zeros((16, 200), np.int32)},
        "neither GPTQ's packing nor AWQ's",
    ),
    "zeros of another size": (
        GPTQ,
        G,
        {f"{UP}.qzeros": np.zeros((4, 7), np.int32)},
        "qzeros has shape",
    ),
    "fewer zeros": (GPTQ, G, {f"{UP}.qzeros": np.zeros((3, 24), np.int32)}, "qzeros is I32.3, 24"),
    "groups that nothing gives": (
        GPTQ,
        G,
        {f"{UP}.qzeros": np.zeros((7, 24), np.int32), f"{UP}.scales": np.ones((7, 192))},
        "7 groups for 128 columns",
    ),
    "no groups": (
        GPTQ,
        G,
        {f"{UP}.qzeros": np.zeros((0, 24), np.int32), f"{UP}.scales": np.ones((0, 192))},
        "0 groups for 128 columns",
    ),
    "a group that is not there": (
        GPTQ,
        G,
        {f"{UP}.g_idx": np.full(128, 4, np.int32)},
        "g_idx names group 4 of 4",
    ),
    "a negative group": (GPTQ, G, {f"{UP}.g_idx": np.full(128, -1, np.int32)}, "names group 429"),
    "a short index": (GPTQ, G, {f"{UP}.g_idx": np.zeros(9, np.int32)}, "g_idx is I32.9."),
    "scales of one dimension": (GPTQ, G, {f"{UP}.scales": np.ones(192)}, "expected F16 or BF16"),
    "wrong shape for the config": (
        GPTQ,
        G,
        GPTQ(UP, packers.draw(np.random.default_rng(0), (64, 128), 4, 32)),
        "up_proj.weight has shape .64, 128., its config says .192, 128.",
    ),
    "mlx, biases of another size": (MLX, M, {f"{UP}.biases": np.ones((192, 3))}, "biases is F16"),
    "mlx, groups that do not fit": (
        MLX,
        {"quantization": {"group_size": 48, "bits": 4}},
        {},
        "which group_size 48 of config.json's",
    ),
    "mlx, group size a word": (
        MLX,
        {"quantization": {"group_size": "x", "bits": 4}},
        {},
        "which group_size 'x'",
    ),
    "compressed, shape of another": (
        packers.compressed,
        C,
        {f"{UP}.weight_shape": np.array([192, 1000], np.int64)},
        "for a matrix of .192, 1000.: supported are",
    ),
    "compressed, a shape below zero": (
        packers.compressed,
        C,
        {f"{UP}.weight_shape": np.array([-192, -128], np.int64)},
        "for a matrix of",
    ),
    "compressed, zeros of another size": (
        packers.compressed,
        C,
        {f"{UP}.weight_zero_point": np.zeros((3, 4), np.int32)},
        "weight_zero_point is I32.3, 4.",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_does_not_go_together_is_a_line(case: str, tmp_path: Path) -> None:
    pack, said, more, message = HOSTILE[case]
    packers.write(tmp_path / "m", pack, said, more=more)
    with pytest.raises(HardcastError, match=message) as caught:
        open_checkpoint(str(tmp_path / "m"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["qzeros", "scales", "qweight"])
def test_a_missing_part_is_named(part: str, tmp_path: Path) -> None:
    def pack(module: str, drawn: packers.Drawn) -> packers.Tensors:
        return {k: v for k, v in GPTQ(module, drawn).items() if not k.endswith(f"up_proj.{part}")}

    packers.write(tmp_path / "m", pack, G)
    message = "weights quantised by gptq" if part == "qweight" else f"up_proj.{part} is missing"
    with pytest.raises(HardcastError, match=message):
        open_checkpoint(str(tmp_path / "m"))


def test_scales_that_are_no_numbers_are_found(tmp_path: Path) -> None:
    packers.write(tmp_path / "m", GPTQ, G, more={f"{UP}.scales": np.full((4, 192), np.nan)})
    checkpoint = open_checkpoint(str(tmp_path / "m"))
    for read in (checkpoint.tensor, checkpoint.grid):
        with pytest.raises(HardcastError, match="up_proj.weight .scales. holds nan"):
            read(f"{UP}.weight")


def test_a_config_beside_the_model(tmp_path: Path) -> None:
    """Older tools wrote quantize_config.json and nothing into config.json."""
    drawn = packers.write(tmp_path / "m", partial(GPTQ, v2=True), {}, group=32)
    beside = tmp_path / "m" / "quantize_config.json"
    beside.write_text(json.dumps({"bits": 4, "group_size": 32, **V2}))
    found = open_checkpoint(str(tmp_path / "m")).tensor(f"{UP}.weight")
    np.testing.assert_array_equal(found, drawn[UP].weights)
