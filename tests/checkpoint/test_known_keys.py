"""No key of a model's description is passed over in silence if it could change the forward pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.checkpoint import Checkpoint, open_checkpoint
from hardcast.checkpoint.config import FAMILIES
from hardcast.checkpoint.keys import NAMED, known
from hardcast.errors import HardcastError
from tests import tiny

SIZES: dict[str, Any] = {"num_hidden_layers": 1, "vocab_size": 300}
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text(max_size=5)
)
CHANGED = 0.7123  # no neutral value of any key
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_safetensors(tmp_path_factory.mktemp("known"), "llama", **SIZES)


def opened(folder: Path, **changes: Any) -> Checkpoint:
    """The tiny model with keys added to its config.json; null is written as null."""
    values = {**tiny.config("llama", **SIZES), **changes}
    (folder / "config.json").write_text(json.dumps(values))
    return open_checkpoint(folder)


def refused(folder: Path, **changes: Any) -> str:
    with pytest.raises(HardcastError) as caught:
        opened(folder, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["config", "gguf"])
def test_a_key_stands_in_one_table(form: str) -> None:
    table = known(form)
    lists = [table.read, table.harmless, set(table.changes)]
    assert all(lists)
    assert len(set().union(*lists)) == sum(len(keys) for keys in lists)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_harmless_keys_change_nothing(folder: Path, data: st.DataObject) -> None:
    plain = opened(folder).config
    harmless = sorted(known("config").harmless)
    keys = data.draw(st.lists(st.sampled_from(harmless), max_size=5, unique=True))
    found = opened(folder, **{key: data.draw(ANYTHING) for key in keys})
    assert (found.config, found.notes) == (plain, [])


@pytest.mark.parametrize("key", sorted(known("config").changes))
def test_keys_that_change_the_forward_pass(folder: Path, key: str) -> None:
    """Refused by name with one value, passed over with those that are neutral."""
    message = refused(folder, **{key: CHANGED})
    assert f"{folder / 'config.json'}: {key} is 0.7123, which makes it a model that" in message
    plain = opened(folder).config
    for value in [None, [], {}, *known("config").changes[key]]:
        found = opened(folder, **{key: value})
        assert (found.config, found.notes) == (plain, [])


@pytest.mark.parametrize("key", sorted(known("config").read))
def test_keys_that_are_read(tmp_path: Path, key: str) -> None:
    """Nonsense under such a key is noticed, by one family or another."""
    on = {"use_sliding_window": True, "sliding_window": 50, "max_window_layers": 0}
    models = (("llama", {"rope_scaling": LLAMA3}), ("qwen2", on), ("qwen2", {}))
    noticed = False
    for number, (architecture, more) in enumerate(models):
        overrides = {**SIZES, **more}
        path = tiny.write_safetensors(tmp_path / str(number), architecture, **overrides)
        values = {**json.loads((path / "config.json").read_text()), key: {"nonsense": {"x": 1}}}
        (path / "config.json").write_text(json.dumps(values))
        try:
            noticed |= bool(open_checkpoint(path).notes)
        except HardcastError:
            noticed = True
    assert noticed


def test_values_that_the_model_has_anyway(folder: Path) -> None:
    own = {"attention_multiplier": 24**-0.5, "query_pre_attn_scalar": 24, "dim_model_base": 96}
    assert opened(folder, **own).notes == []
    assert "query_pre_attn_scalar is 25" in refused(folder, query_pre_attn_scalar=25)
    assert "qk_norm is True" in refused(folder, qk_norm=True)
    assert opened(folder, no_rope_layers=[1, 1]).notes == []
    assert "no_rope_layers is [1, 0]" in refused(folder, no_rope_layers=[1, 0])
    assert "is_causal is False" in refused(folder, is_causal=False)
    assert "num_experts is 8" in refused(folder, num_experts=8)


def test_unknown_keys_are_named(folder: Path) -> None:
    found = opened(folder, warp_factor=9, off=False, nothing=None, empty=[], auto_map={"a": "b"})
    (note,) = found.notes
    assert (
        "config.json: passed over, for Hardcast does not know them: warp_factor, auto_map;" in note
    )
    assert found.config == opened(folder).config
    (note,) = opened(folder, **{f"key{number}": 1 for number in range(40)}).notes
    assert f"key{NAMED - 1} and {40 - NAMED} more;" in note and f"key{NAMED}" not in note
    (note,) = opened(folder, sliding_window=100).notes
    assert "know them: sliding_window;" in note
    table = {"rope_type": "default", "factor": 8.0, "rope_theta": 10000.0}
    (note,) = opened(folder, rope_scaling=table).notes
    assert "know them: rope_scaling.factor;" in note


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3"])
def test_what_transformers_writes_is_known(folder: Path, family: str) -> None:
    """Also with everything that its classes say beside the model's own keys."""
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    sizes = tiny.config(family.lower() if family != "Mistral" else "llama", **SIZES)
    del sizes["model_type"], sizes["architectures"]
    config = getattr(transformers, f"{family}Config")(**sizes)
    for values in (config.to_dict(), config.to_diff_dict()):
        table = known("config")
        assert set(values) <= table.read | table.harmless | set(table.changes)


# As published beside models that Hardcast reads: every key of their config.json.
PUBLISHED = {
    "SmolLM2 135M": {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.041666666666666664,
        "is_llama_config": True,
        "mlp_bias": False,
        "pad_token_id": 2,
        "pretraining_tp": 1,
        "rope_interleaved": False,
        "rope_scaling": None,
        "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
        "transformers_version": "4.42.3",
        "use_cache": True,
    },
    "Llama 3.2 1B": {
        "attention_bias": False,
        "eos_token_id": [128001, 128008, 128009],
        "pretraining_tp": 1,
        "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 8192},
        "torch_dtype": "bfloat16",
        "unsloth_fixed": True,
    },
    "an old Llama 2": {"_name_or_path": "x", "max_length": 4096, "pretraining_tp": 2},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_need_no_note(folder: Path, name: str) -> None:
    assert opened(folder, **PUBLISHED[name]).notes == []


# GGUF


def gguf_file(path: Path, architecture: str = "llama", **keys: Any) -> Checkpoint:
    metadata = {f"{architecture}.{key}": value for key, value in keys.items()}
    return open_checkpoint(
        tiny.write_gguf(path / "m.gguf", architecture, metadata=metadata, **SIZES)
    )


@pytest.mark.parametrize("key", sorted(known("gguf").changes))
def test_metadata_that_changes_the_forward_pass(tmp_path: Path, key: str) -> None:
    with pytest.raises(HardcastError, match=f"llama[.].*{key} is 0[.]7123[0-9]*, which makes"):
        gguf_file(tmp_path, **{key: CHANGED})
    for value in known("gguf").changes[key]:
        assert gguf_file(tmp_path, **{key: value}).notes == []


def test_metadata_that_the_model_has_anyway(tmp_path: Path) -> None:
    own = {"attention.scale": 24**-0.5, "rope.dimension_sections": [0, 0, 0, 0]}
    assert gguf_file(tmp_path, **own, embedding_length_out=96).notes == []
    with pytest.raises(HardcastError, match=r"rope.dimension_sections is \[8, 8, 8, 0\]"):
        gguf_file(tmp_path, **{"rope.dimension_sections": [8, 8, 8, 0]})


def every_gguf_key() -> list[str]:
    """Keys that the gguf package knows after the architecture's prefix."""
    groups = (gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope)
    keys = [key for group in groups for key in vars(group).values() if isinstance(key, str)]
    return sorted(
        k.removeprefix("{arch}.") for k in keys if k.startswith("{arch}.") and "{d" not in k
    )


@pytest.mark.parametrize("key", every_gguf_key())
def test_no_key_of_the_format_is_passed_over_in_silence(tmp_path: Path, key: str) -> None:
    """With a value that no reader expects: read and refused, refused, harmless, or named."""
    if key in known("gguf").harmless:
        assert gguf_file(tmp_path, **{key: 7}).notes == []
        return
    try:
        notes = gguf_file(tmp_path, **{key: "odd"}).notes
    except HardcastError:
        return
    assert len(notes) == 1 and f"know them: {key};" in notes[0]


@pytest.mark.parametrize("architecture", sorted(FAMILIES))
def test_plain_metadata_needs_no_note(tmp_path: Path, architecture: str) -> None:
    assert gguf_file(tmp_path, architecture).notes == []
    (note,) = gguf_file(tmp_path, architecture, warp=3).notes
    assert "know them: warp;" in note


@pytest.mark.parametrize(
    "kind, says", [("adapter", "llama-export-lora"), ("mmproj", "give the model's own .gguf file")]
)
def test_files_that_are_no_model(tmp_path: Path, kind: str, says: str) -> None:
    path = tiny.write_gguf(tmp_path / "m.gguf", "llama", metadata={"general.type": kind}, **SIZES)
    with pytest.raises(HardcastError, match=f"general.type is '{kind}': no language model.*{says}"):
        open_checkpoint(path)
