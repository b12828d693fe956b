"""A model's folder in every spelling that people have: the weights that transformers would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast import models
from hardcast.checkpoint import open_checkpoint
from hardcast.errors import HardcastError
from hardcast.quantize.float_forward import FloatModel
from tests import tiny

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
SIZES: dict[str, Any] = {"num_hidden_layers": 1, "vocab_size": 300}
INDEX = "model.safetensors.index.json"


def logits(folder: Path, tokens: list[int]) -> np.ndarray:
    """Of the float model that Hardcast makes of the folder."""
    checkpoint = open_checkpoint(folder)
    program = models.build_program(checkpoint.config)
    return FloatModel(
        program, checkpoint.config, lambda name: checkpoint.tensor(models.checkpoint_name(name))
    ).logits(tokens)


def write(
    folder: Path, stored: tuple[str, ...], tie: bool | None, base: bool, sharded: bool, seed: int
) -> None:
    """stored: which of head, embedding and other are there. base: without the prefix model."""
    other = tiny.tensors("llama", seed=9, **SIZES)[EMBEDDING]
    whole = tiny.tensors("llama", seed, **SIZES)
    matrices = {
        EMBEDDING: whole[EMBEDDING] if "embedding" in stored else None,
        HEAD: whole[EMBEDDING] if "head" in stored else other if "other head" in stored else None,
    }
    found = {name: array for name, array in {**whole, **matrices}.items() if array is not None}
    if base:
        found = {name.removeprefix("model."): array for name, array in found.items()}
    # Names of the drawn model go; those of this spelling come.
    weights: dict[str, np.ndarray | None] = {**dict.fromkeys([*whole, HEAD]), **found}
    sizes = {**SIZES, "tie_word_embeddings": True if tie is None else tie}
    tiny.write_safetensors(folder, "llama", seed, sharded, weights=weights, **sizes)
    if tie is None:
        path = folder / "config.json"
        values = json.loads(path.read_text())
        del values["tie_word_embeddings"]
        path.write_text(json.dumps(values))


def test_the_spellings_of_a_whole_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same logits as transformers, or refused where it would make a matrix up."""
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    tokens = [5, 6, 250, 1, 77]
    seen: set[tuple[bool, bool]] = set()

    @given(
        stored=st.sampled_from(
            [
                ("embedding",),
                ("head",),
                ("embedding", "head"),
                ("embedding", "other head"),
                ("other head",),
                (),
            ]
        ),
        tie=st.sampled_from([True, False, None]),
        base=st.booleans(),
        sharded=st.booleans(),
        stale=st.booleans(),
    )
    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def check(
        stored: tuple[str, ...], tie: bool | None, base: bool, sharded: bool, stale: bool
    ) -> None:
        folder = tmp_path_factory.mktemp("spelling")
        write(folder, stored, tie, base, sharded, seed=0)
        if stale and not sharded:  # shards of an earlier save, and their index
            write(folder / "earlier", ("embedding",), True, False, True, seed=4)
            for path in (folder / "earlier").glob("model*"):
                path.rename(folder / path.name)
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True
        )
        missing = set(info["missing_keys"])
        if tie is None and missing == {HEAD} and not base:
            missing = set()  # nothing says that it is untied: the embedding is taken, with a note
            model.lm_head.weight = model.model.embed_tokens.weight
            assert "is taken as the head" in open_checkpoint(folder).notes[0]
        seen.add((bool(missing), base))
        if missing:
            with pytest.raises(HardcastError, match=f"tensor ({'|'.join(missing)}) is missing"):
                open_checkpoint(folder)
            return
        with torch.no_grad():
            theirs = model.float().eval()(torch.tensor([tokens])).logits[0].numpy()
        ours = logits(folder, tokens)
        assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()

    check()
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


def test_two_different_matrices_are_not_tied(tmp_path: Path) -> None:
    write(tmp_path, ("embedding", "other head"), True, False, False, seed=0)
    checkpoint = open_checkpoint(tmp_path)
    assert not checkpoint.config.tie_word_embeddings
    assert "tie_word_embeddings is true, but" in checkpoint.notes[0]
    write(tmp_path, ("embedding", "head"), True, False, False, seed=0)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config.tie_word_embeddings and HEAD not in checkpoint.names()
    assert checkpoint.notes == []


def test_a_lost_head_is_explained(tmp_path: Path) -> None:
    write(tmp_path, ("embedding",), False, True, False, seed=0)
    with pytest.raises(HardcastError, match="the head, and tie_word_embeddings is not true; save"):
        open_checkpoint(tmp_path)


def test_wrapped_names_are_shown(tmp_path: Path) -> None:
    whole = tiny.tensors("llama", **SIZES)
    names: dict[str, np.ndarray | None] = {f"_orig_mod.{name}": a for name, a in whole.items()}
    weights = {**dict.fromkeys(whole), **names}
    tiny.write_safetensors(tmp_path, "llama", weights=weights, **SIZES)
    with pytest.raises(
        HardcastError, match=r"there is _orig_mod[.]model.embed_tokens.weight: save"
    ):
        open_checkpoint(tmp_path)


def test_a_model_of_more_than_text(tmp_path: Path) -> None:
    tiny.write_safetensors(
        tmp_path, "llama", model_type="llava", text_config={"model_type": "llama"}
    )
    with pytest.raises(HardcastError, match=r"'llava' is more than a language model; .*: llama"):
        open_checkpoint(tmp_path)


# Other packings


@pytest.mark.parametrize(
    "end, tool",
    [
        ("mlp.up_proj.qzeros", "GPTQ or AWQ"),
        ("mlp.up_proj.g_idx", "GPTQ"),
        ("mlp.up_proj.weight.absmax", "bitsandbytes (4 bits)"),
        ("mlp.up_proj.SCB", "bitsandbytes (8 bits)"),
        ("mlp.up_proj.weight_scale", "compressed-tensors or ModelOpt"),
        ("mlp.up_proj.weight_scale_inv", "FP8 in blocks"),
        ("mlp.up_proj.biases", "MLX"),
        ("mlp.up_proj.q_invperm", "ExLlamaV2 (EXL2)"),
        ("mlp.up_proj.W_q", "HQQ"),
    ],
)
@pytest.mark.parametrize("said", [False, True])
def test_weights_that_another_tool_quantised(
    tmp_path: Path, end: str, tool: str, said: bool
) -> None:
    """By the names of their tensors, and by config.json where it says so."""
    config = {"quantization_config": {"quant_method": "warp", "bits": 4}} if said else {}
    weights = {f"model.layers.0.{end}": np.ones((4, 4), np.float32)}
    tiny.write_safetensors(tmp_path, "llama", weights=weights, **SIZES, **config)
    with pytest.raises(HardcastError) as caught:
        open_checkpoint(tmp_path)
    by = "warp (4 bits) (quantization_config)" if said else tool
    assert f"weights quantised by {by} are not supported; give the model" in str(caught.value)


@pytest.mark.parametrize(
    "config, says",
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "says gptq (4 bits)"),
        ({"quantization_config": {"load_in_8bit": True}}, "says bitsandbytes (8 bits)"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "says MLX (4 bits)"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
    ],
)
def test_whole_weights_beside_a_quantization_config(
    tmp_path: Path, config: dict[str, Any], says: str
) -> None:
    tiny.write_safetensors(tmp_path, "llama", **SIZES, **config)
    with pytest.raises(HardcastError) as caught:
        open_checkpoint(tmp_path)
    (key,) = config
    assert f"{key} says" in str(caught.value) and says in str(caught.value)
    assert f"take {key} out of config.json" in str(caught.value)


@pytest.mark.parametrize(
    "files, says",
    [
        ({"adapter_config.json": '{"base_model_name_or_path": "org/base"}'}, "for 'org/base'"),
        ({"params.json": "{}", "consolidated.00.pth": ""}, "a model in its maker's own packing"),
        ({"config.json": "{}", "consolidated.safetensors": ""}, "their maker's own packing"),
        ({"config.json": "{}", "consolidated.00.pth": ""}, "their maker's own packing"),
        ({"config.json": "{}", "model.pth": ""}, "only pickled weights (.pth)"),
        ({"config.json": "{}", "a.bin": "", "b.bin": ""}, "only pickled weights (.bin)"),
        ({"config.json": "{}", "adapter_config.json": "{}"}, "an adapter (LoRA)"),
        ({"config.json": "{}"}, "name one: org/name/file.gguf"),
        ({"a.gguf": "", "b.gguf": ""}, "holds 2 .gguf files (a.gguf, b.gguf); name one"),
        ({"README.md": ""}, "config.json: not found; a model is a folder"),
        (
            {
                "config.json": "{}",
                "model.safetensors": "version https://git-lfs.github.com/spec/v1",
            },
            "git lfs pull",
        ),
    ],
)
def test_folders_that_hold_something_else(tmp_path: Path, files: dict[str, str], says: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(HardcastError) as caught:
        open_checkpoint(tmp_path)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_what_lies_beside_a_model(tmp_path: Path) -> None:
    """Another packing of it, an adapter that is not applied, a projector of images."""
    folder = tiny.write_safetensors(tmp_path / "m", "llama", **SIZES)
    plain = open_checkpoint(folder).config
    (folder / "consolidated.safetensors").write_bytes(b"")
    (folder / "adapter_config.json").write_text("{}")
    found = open_checkpoint(folder)
    assert found.config == plain
    assert ["an adapter lies beside the model and is not applied" in n for n in found.notes] == [
        True
    ]
    shelf = tmp_path / "gguf"
    tiny.write_gguf(shelf / "model.gguf", "llama", **SIZES)
    (shelf / "mmproj-model.gguf").write_bytes(b"")
    (shelf / "config.json").write_text("{}")
    assert open_checkpoint(shelf).path == shelf / "model.gguf"
