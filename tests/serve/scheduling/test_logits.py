"""Bias, penalties, masks and logprobs: exact integers before the sampler, floats only reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.golden.sampler import sample
from hardcast.numerics.sampling import SamplerSettings
from hardcast.serve.scheduling.logits import LEAST, MOST, NEVER, Shaper, logprobs
from hardcast.serve.scheduling.request import GenerationRequest

POINT, VOCAB = 10, 97
ROWS = st.integers(0, 1 << 32).map(
    lambda seed: np.random.default_rng(seed).integers(-30000, 30000, VOCAB).astype(np.int32)
)


def shaper(**asked: Any) -> Shaper:
    return Shaper(GenerationRequest((1,), SamplerSettings(), 5, **asked), POINT)


@given(ROWS, st.lists(st.integers(0, VOCAB - 1)))
def test_nothing_asked_for_leaves_the_row_itself(row: np.ndarray, made: Sequence[int]) -> None:
    found = shaper()
    for token in made:
        found.push(token)
    assert found.shape(row, None) is row


@settings(max_examples=200)
@given(
    row=ROWS,
    bias=st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-100, 100), max_size=5),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
    made=st.lists(st.integers(0, 9), max_size=12),
)
def test_bias_and_penalties_are_integers_at_the_logit_point(
    row: np.ndarray,
    bias: dict[int, float],
    presence: float,
    frequency: float,
    made: Sequence[int],
) -> None:
    found = shaper(logit_bias=bias, presence_penalty=presence, frequency_penalty=frequency)
    for token in made:
        found.push(token)
    kept = row.copy()
    shaped = found.shape(row, None)
    assert shaped.dtype == np.int32 and (row == kept).all()  # the chip's own are not touched
    for token in range(VOCAB):
        expected = int(row[token]) + round(bias.get(token, 0.0) * 1024)
        if token in made:
            expected -= round(presence * 1024) + made.count(token) * round(frequency * 1024)
        assert shaped[token] == expected


def test_sums_that_int32_does_not_hold_become_its_ends() -> None:
    row = np.array([MOST - 5, LEAST + 5, NEVER, 0], np.int32)
    shaped = shaper(logit_bias={0: 1.0, 1: -1.0, 2: 0.0}).shape(row, None)
    assert shaped.tolist() == [MOST, LEAST, LEAST, 0]


@settings(max_examples=200)
@given(
    row=ROWS,
    allowed=st.sets(st.integers(0, VOCAB - 1), min_size=1, max_size=4),
    temperature=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    top_k=st.sampled_from([0, 1, 50]),
    top_p=st.sampled_from([1.0, 0.9, 0.001]),
    seed=st.integers(0, 1 << 64 - 1),
    banned=st.booleans(),
)
def test_the_sampler_never_takes_what_is_masked(
    row: np.ndarray,
    allowed: set[int],
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    banned: bool,
) -> None:
    """Also at the highest temperature, and where all that may come is biased down at most."""
    mask = np.zeros(VOCAB, np.bool_)
    mask[list(allowed)] = True
    bias = dict.fromkeys(allowed, -100.0) if banned else {}
    asked = SamplerSettings.from_user(temperature, top_k, top_p, seed)
    shaped = shaper(logit_bias=bias).shape(row, mask)
    assert (shaped[~mask] == NEVER).all()
    assert sample(shaped, asked, 7, POINT) in allowed


@settings(max_examples=200)
@given(ROWS, st.integers(0, VOCAB - 1), st.integers(0, 20))
def test_logprobs_are_the_softmax_of_the_logits(row: np.ndarray, chosen: int, top: int) -> None:
    row[::7] = row[0]  # equals
    found, best = logprobs(row, POINT, chosen, top)
    largest = max(row.tolist())
    weights = [math.exp((x - largest) / 1024) for x in row.tolist()]
    total = math.fsum(weights)
    assert found == pytest.approx((int(row[chosen]) - largest) / 1024 - math.log(total))
    order = sorted(range(VOCAB), key=lambda token: (-int(row[token]), token))[:top]
    assert [token for token, _ in best] == order
    for token, value in best:
        assert value == pytest.approx((int(row[token]) - largest) / 1024 - math.log(total))


def test_more_alternatives_than_tokens_are_all() -> None:
    _, best = logprobs(np.array([3, 5, 4], np.int32), POINT, 0, 20)
    assert [token for token, _ in best] == [1, 2, 0]
