"""Drawn checkpoints: the shape of every known model, the same weights however they are read."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast import models
from hardcast.checkpoint.base import Checkpoint
from hardcast.checkpoint.synthetic import EOS, SyntheticCheckpoint
from hardcast.errors import HardcastError
from hardcast.models.shapes import get_shape, shape_names
from hardcast.tokenizer import Tokenizer, spec_from_source
from tests.random_image import config

TINY = config("qwen2", vocab_size=300, tie_word_embeddings=False)
Q = "model.layers.0.self_attn.q_proj.weight"


def draw(seed: int = 0, **overrides: object) -> SyntheticCheckpoint:
    return SyntheticCheckpoint("tiny", dataclasses.replace(TINY, **overrides), seed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiny() -> SyntheticCheckpoint:
    return draw()


@pytest.mark.parametrize("name", shape_names())
def test_every_known_shape_has_what_its_program_reads(name: str) -> None:
    shape = get_shape(name)
    checkpoint: Checkpoint = SyntheticCheckpoint(name, shape.config)
    needed = models.tensor_shapes(models.build_program(shape.config))
    found = {part: checkpoint.shape(part) for part in checkpoint.names()}
    assert found == {models.checkpoint_name(part): needed[part] for part in needed}
    assert checkpoint.grid(Q) is None


def test_the_weights_are_the_same_on_every_machine(tiny: SyntheticCheckpoint) -> None:
    assert tiny.tensor(Q).dtype == np.float32
    digest = hashlib.sha256(tiny.tensor(Q).astype("<f4").tobytes()).hexdigest()
    assert digest[:16] == "b54a8255f5f39cfa"


@settings(deadline=None)
@given(st.sampled_from(["model.embed_tokens.weight", Q, Q.replace("weight", "bias")]), st.data())
def test_rows_do_not_depend_on_what_is_read_with_them(
    tiny: SyntheticCheckpoint, name: str, data: st.DataObject
) -> None:
    whole = tiny.tensor(name)
    assert whole.shape == tiny.shape(name)
    first = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(first, len(whole)))
    assert np.array_equal(tiny.tensor(name, slice(first, stop)), whole[first:stop])


def test_weights_look_normal_and_keep_the_size_of_activations() -> None:
    weights = SyntheticCheckpoint("1b", get_shape("llama-3.2-1b").config).tensor(
        "model.layers.5.mlp.down_proj.weight", slice(0, 500)
    )
    scaled = weights.astype(np.float64) * np.sqrt(weights.shape[1])
    assert abs(scaled.mean()) < 0.002 and abs(scaled.std() - 1) < 0.01
    assert abs((scaled**4).mean() - 3) < 0.1  # 1.8 were they uniform
    assert 4.5 < np.abs(scaled).max() < 7
    together = np.corrcoef(scaled[:40])
    assert np.abs(together - np.eye(40)).max() < 0.06  # rows share windows, but are not alike


def test_gains_are_one_and_biases_are_not(tiny: SyntheticCheckpoint) -> None:
    assert (tiny.tensor("model.norm.weight") == 1).all()
    assert np.unique(tiny.tensor(Q.replace("weight", "bias"))).size > 50


def test_seeds_and_tensors_differ(tiny: SyntheticCheckpoint) -> None:
    other = Q.replace("layers.0", "layers.1")
    drawn = [tiny.tensor(Q), tiny.tensor(other), draw(seed=1).tensor(Q)]
    for index, one in enumerate(drawn):
        for two in drawn[index + 1 :]:
            assert (one == two).mean() < 0.05
    assert np.array_equal(draw().tensor(Q), tiny.tensor(Q))


def test_a_model_may_have_fewer_layers() -> None:
    full = get_shape("llama-3.2-1b").config
    short = SyntheticCheckpoint("1b", full, layers=2)
    assert short.config == dataclasses.replace(full, num_hidden_layers=2)
    layers = {name.split(".")[2] for name in short.names() if ".layers." in name}
    assert layers == {"0", "1"}
    whole = SyntheticCheckpoint("1b", full)
    assert np.array_equal(short.tensor(Q, slice(0, 3)), whole.tensor(Q, slice(0, 3)))


@given(st.text())
def test_any_text_can_be_told_to_the_chip(tiny: SyntheticCheckpoint, text: str) -> None:
    tokenizer = Tokenizer(spec_from_source(tiny.tokenizer_source()))
    assert tokenizer.vocab_size == TINY.vocab_size and tokenizer.eos_ids == (EOS,)
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    ids = tokenizer.encode(text, special=False)
    assert ids == list(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([298, 72, EOS, 299]) == " 298H 299"


@pytest.mark.parametrize("layers", [0, -1, 17])
def test_layers_outside_the_model_are_refused(layers: int) -> None:
    shape = get_shape("llama-3.2-1b").config
    with pytest.raises(HardcastError, match=f"llama-3.2-1b: {layers} layers .* 1 to 16"):
        SyntheticCheckpoint("llama-3.2-1b", shape, layers=layers)


def test_what_cannot_be_drawn_is_refused(tiny: SyntheticCheckpoint) -> None:
    with pytest.raises(HardcastError, match="a vocabulary of 256 has no room for 257 tokens"):
        draw(vocab_size=256)
    with pytest.raises(HardcastError, match="tiny: there is no tensor model.nothing"):
        tiny.tensor("model.nothing")
