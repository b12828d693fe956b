"""Drawn designs: known shapes, odd ones and images' forms, on chips that take them."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from hardcast import models
from hardcast.checkpoint.config import ModelConfig
from hardcast.chip.design import Design
from hardcast.chip.parameters import Chip, get_preset
from hardcast.chip.subject import Form, Subject, open_subject
from tests.random_image import config

HC1 = get_preset("hc1").chip
NODES = ("n28", "n16", "n7", "n6", "n5", "n3e", "asap7", "sg13g2", "sky130")


def hc1(shape: str = "llama-3.1-8b", stages: int = 1, pieces: int = 1, **changes: int) -> Design:
    """A shape under 3/6 on preset hc1; `changes` replace its parameters."""
    chip = dataclasses.replace(HC1, **changes)
    return Design(open_subject(shape, "3/6"), chip, stages=stages, pieces=pieces)


def subject_of(model: ModelConfig, forms: tuple[Form, ...]) -> Subject:
    """A model whose matrices take the forms in turn."""
    program = models.build_program(model)
    names = list(program.matrices())
    return Subject(
        "drawn", program, {n: forms[i % len(forms)] for i, n in enumerate(names)}, "drawn"
    )


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """Sizes that nothing divides, every form of weights that a tile was measured for."""
    lanes = draw(st.sampled_from([1, 2, 8, 32]))
    half = draw(st.sampled_from([n for n in (8, 16, 32, 96) if n % lanes == 0]))
    kv_heads = draw(st.integers(1, 5))
    model = config(
        draw(st.sampled_from(["llama", "qwen2", "qwen3"])),
        hidden_size=draw(st.integers(1, 300)),
        intermediate_size=draw(st.integers(1, 700)),
        num_hidden_layers=draw(st.integers(1, 7)),
        num_attention_heads=kv_heads * draw(st.integers(1, 4)),
        num_key_value_heads=kv_heads,
        head_dim=2 * half,
        vocab_size=draw(st.integers(2, 999)),
        tie_word_embeddings=draw(st.booleans()),
        sliding_window=draw(st.sampled_from([None, 3, 31])),
    )
    bits, offsets = draw(st.sampled_from([(2, False), (3, False), (4, False), (4, True)]))
    form = st.builds(
        Form,
        bits=st.just(bits),
        planes=st.sampled_from([1, 2]),
        group_size=st.sampled_from([0, 32, 64, 96, 128]),
        offsets=st.just(offsets),
    )
    forms = tuple(draw(st.lists(form, min_size=1, max_size=3)))
    chip = Chip(
        "drawn",
        bits=bits,
        columns=draw(st.sampled_from([4, 8, 16])),
        slices=draw(st.integers(1, 9)),
        tile_rows=lanes,
        users=draw(st.sampled_from([1, 1, 2, 3, 8, 11])),
        positions=draw(st.sampled_from([1, 4, 16])),
        broadcast_stages=draw(st.integers(0, 4)),
        gather_stages=draw(st.integers(0, 3)),
        context=draw(st.integers(1, 600)),
        sampler_lanes=draw(st.sampled_from([1, 4, 64])),
    )
    return Design(
        subject_of(model, forms),
        chip,
        stages=draw(st.integers(1, model.num_hidden_layers)),
        pieces=draw(st.integers(1, min(lanes, 5))),
        lora_rank=draw(st.sampled_from([0, 0, 16])),
    )
