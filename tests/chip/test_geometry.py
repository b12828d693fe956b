"""How a model lies on a chip: every row and channel has one place, and pairs meet in a lane."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hardcast.chip.geometry import Geometry, log_ceil
from hardcast.chip.parameters import Chip, get_preset, preset_names
from hardcast.errors import HardcastError
from hardcast.program.program import Shape


def shape(**changes: int) -> Shape:
    sizes = {
        "hidden_size": 96,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 24,
        "vocab_size": 211,
    }
    return Shape(**{**sizes, **changes})


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    lanes = draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))
    head_dim = 2 * draw(st.integers(1, 96))
    half = head_dim // 2
    assume(half % lanes == 0 or (half & (half - 1) == 0 and half <= lanes))
    chip = Chip("drawn", slices=4, tile_rows=lanes, columns=draw(st.sampled_from([1, 4, 8, 16])))
    return Geometry(chip, shape(head_dim=head_dim))


@given(geometry=geometries(), heads=st.integers(1, 9))
def test_rows_of_heads_have_places_of_their_own(geometry: Geometry, heads: int) -> None:
    places = geometry.head_rows(heads)
    assert len(set(places.tolist())) == len(places)
    assert 0 <= places.min() and places.max() < geometry.heads(heads) * geometry.chip.tile_rows


@given(geometry=geometries(), heads=st.integers(1, 9))
def test_pairs_of_channels_meet_in_a_lane_of_neighbouring_words(
    geometry: Geometry, heads: int
) -> None:
    lanes, dim = geometry.chip.tile_rows, geometry.shape.head_dim
    places = geometry.head_rows(heads).reshape(heads, dim)
    first, second = places[:, : dim // 2], places[:, dim // 2 :]
    assert (second - first == lanes).all()
    assert (first // lanes % 2 == 0).all()


@given(geometry=geometries())
def test_a_heads_stored_vector_follows_its_rows(geometry: Geometry) -> None:
    """What the quantiser collects, word after word, is the head in channel_layout's order."""
    layout = geometry.channel_layout()
    assert sorted(layout) == list(range(geometry.shape.head_dim))
    rows = geometry.head_rows(1)
    assert np.argsort(rows).tolist() == np.argsort(layout).tolist()


@given(geometry=geometries(), values=st.integers(1, 2000))
def test_words_hold_the_values_and_blocks_are_whole(geometry: Geometry, values: int) -> None:
    lanes = geometry.chip.tile_rows
    words = geometry.words(values)
    assert (words - 1) * lanes < values <= words * lanes
    padded = geometry.padded(words)
    assert padded % geometry.block_words == 0 and 0 <= padded - words < geometry.block_words
    assert padded * lanes % 64 == 0


@pytest.mark.parametrize(
    ("n", "base", "levels"), [(1, 2, 0), (2, 2, 1), (5, 2, 3), (64, 4, 3), (65, 4, 4)]
)
def test_levels_of_a_tree(n: int, base: int, levels: int) -> None:
    assert log_ceil(n, base) == levels


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_chip(name: str) -> None:
    preset = get_preset(name)
    assert preset.chip.name == name and preset.clock_ghz > 0 and preset.clock_source


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 5},
        {"columns": 3},
        {"slices": 0},
        {"tile_rows": 12},
        {"tile_rows": 512},
        {"users": 0},
        {"positions": 3},
        {"broadcast_stages": -1},
        {"context": 0},
        {"sampler_lanes": 6},
        {"bits": True},
    ],
)
def test_parameters_that_no_chip_has_are_refused(change: dict[str, Any]) -> None:
    chip = dataclasses.replace(Chip("wrong"), **change)
    with pytest.raises(HardcastError, match=f"chip wrong: {next(iter(change))} is"):
        chip.check()


def test_lanes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(HardcastError, match="8 tile rows do not divide head_dim / 2 = 12"):
        Geometry(Chip("c", tile_rows=8), shape())
    with pytest.raises(HardcastError, match="2 blocks a cycle, which do not divide its 3 slices"):
        Geometry(Chip("c", tile_rows=128, slices=3), shape(head_dim=32))


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(HardcastError, match="there are: hc1, smollm2"):
        get_preset("hc2")
