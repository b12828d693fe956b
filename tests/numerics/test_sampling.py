"""The sampler's generator against its published vectors, and what a user may ask for."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.numerics.sampling import (
    MAX_TEMPERATURE,
    MAX_TOP_K,
    MIN_TEMPERATURE,
    SamplerSettings,
    philox,
)

MASK = 0xFFFFFFFF


def scalar_philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    """Philox4x32-10 as its paper writes it, one counter at a time."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(c[0] * 0xD2511F53, 1 << 32)
        high1, low1 = divmod(c[2] * 0xCD9E8D57, 1 << 32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def test_philox_zero_vector() -> None:
    words = philox(np.zeros(1, np.int64), position=0, seed=0)
    assert [f"{w:08x}" for w in words[0]] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


def test_the_scalar_philox_matches_the_other_published_vectors() -> None:
    """Random123's known answers: all ones, and the digits of pi."""
    ones = scalar_philox((MASK,) * 4, (MASK,) * 2)
    assert [f"{w:08x}" for w in ones] == ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]
    digits = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    found = scalar_philox(digits, (0xA4093822, 0x299F31D0))
    assert [f"{w:08x}" for w in found] == ["d16cfe09", "94fdcceb", "5001e420", "24126ea1"]


@given(
    st.lists(st.integers(0, MASK), min_size=1, max_size=5),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
)
def test_philox_uses_position_and_seed_in_full(
    counters: list[int], position: int, seed: int
) -> None:
    words = philox(np.array(counters), position, seed)
    assert (words.dtype, words.shape) == (np.uint32, (len(counters), 4))
    for counter, row in zip(counters, words.tolist(), strict=True):
        full = (counter, 0, position & MASK, position >> 32)
        assert row == scalar_philox(full, (seed & MASK, seed >> 32))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"temperature": -0.1}, "temperature -0.1 is outside 0..100"),
        ({"temperature": 100.5}, "temperature 100.5 is outside 0..100"),
        ({"temperature": math.nan}, "temperature nan is outside"),
        ({"temperature": math.inf}, "temperature inf is outside"),
        ({"temperature": -math.inf}, "temperature -inf is outside"),
        ({"temperature": 1e300}, "is outside 0..100"),
        ({"temperature": 0.001}, "temperature 0.001 is below 0.01; 0 means greedy"),
        ({"temperature": 5e-324}, "is below 0.01"),
        ({"top_k": -1}, "top-k -1 is outside 0..256"),
        ({"top_k": 257}, "top-k 257 is outside 0..256"),
        ({"top_k": 10**30}, "is outside 0..256"),
        ({"top_p": 0.0}, r"top-p 0.0 is outside \(0, 1\]"),
        ({"top_p": -0.5}, "top-p -0.5 is outside"),
        ({"top_p": 1.0000001}, "top-p 1.0000001 is outside"),
        ({"top_p": math.nan}, "top-p nan is outside"),
        ({"top_p": math.inf}, "top-p inf is outside"),
        ({"seed": -1}, "seed -1 is outside"),
        ({"seed": 1 << 64}, "is outside 0..2\\^64-1"),
    ],
)
def test_bad_settings_are_refused_in_one_line(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(HardcastError, match=message) as caught:
        SamplerSettings.from_user(**asked)
    assert "\n" not in str(caught.value)


@given(
    st.one_of(st.just(0.0), st.floats(MIN_TEMPERATURE, MAX_TEMPERATURE)),
    st.integers(0, MAX_TOP_K),
    st.floats(0, 1, exclude_min=True),
    st.integers(0, (1 << 64) - 1),
)
def test_good_settings_become_integers(
    temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    settings = SamplerSettings.from_user(temperature, top_k, top_p, seed)
    assert (settings.top_k, settings.seed) == (top_k, seed)
    assert settings.greedy == (temperature == 0)
    if temperature:
        error = settings.inverse_temperature - Fraction(math.log2(math.e)) * 4096 / Fraction(
            temperature
        )
        assert abs(error) <= Fraction(1, 2)
        assert settings.inverse_temperature >= 59  # the hottest is still no greedy
    assert 1 <= settings.top_p <= 1 << 16
    assert abs(settings.top_p - top_p * 65536) <= 1
    assert (settings.candidates == 0) == (top_k == 0 and settings.top_p == 1 << 16)
    assert settings.candidates <= MAX_TOP_K


def test_the_defaults_are_greedy() -> None:
    assert SamplerSettings.from_user() == SamplerSettings()
    assert SamplerSettings().greedy
