"""The break-even volume: where both sides' tokens cost the same, by the same functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.economics.breakeven import break_even
from hardcast.economics.nre import turnaround
from hardcast.economics.serving import bought_serving_cost, chip_serving_cost
from hardcast.errors import HardcastError
from tests.economics.by_hand import assumed, product


@given(st.floats(0.01, 1.0), st.floats(0.1, 1.0))
def test_costs_are_equal_there(rival: float, load: float) -> None:
    figures = assumed()
    found = break_even(product(), rival, figures, load)
    if np.isfinite(found.systems):
        there = chip_serving_cost(product(), figures, found.systems, load)
        assert there.usd_per_million_tokens == pytest.approx(rival)
        assert there.tokens * found.systems / 365.25 == pytest.approx(found.tokens_a_day)
        assert found.floor_usd < rival
    else:
        assert found.floor_usd >= rival


def test_never_below_the_floor() -> None:
    floor = float(break_even(product(), 0.05, assumed()).floor_usd)
    below = break_even(product(), 0.99 * floor, assumed())
    assert below.systems == below.tokens_a_day == np.inf
    assert np.isfinite(break_even(product(), 1.01 * floor, assumed()).systems)


def test_a_dearer_rival_is_beaten_sooner() -> None:
    prices = np.array([0.001, 0.02, 0.05, 0.2])
    systems = break_even(product(), prices, assumed()).systems
    assert isinstance(systems, np.ndarray)
    assert systems[0] == np.inf and np.all(np.diff(systems[1:]) < 0)
    for price, many in zip(prices, systems, strict=True):
        assert break_even(product(), float(price), assumed()).systems == many


def test_frequent_respins_need_more_volume() -> None:
    often, seldom = (
        break_even(product(), 0.05, assumed(cost_model_life=life)).systems for life in (0.5, 2)
    )
    assert often > seldom


def test_every_figure_is_read() -> None:
    """A figure that nothing reads is dead, whatever its source."""
    figures = assumed()
    break_even(product(), 0.05, figures)
    bought_serving_cost(product(), figures)
    turnaround(figures)
    assert set(figures.figures) == figures.read


@pytest.mark.parametrize("price", [0.0, -1.0])
def test_a_rival_must_have_a_price(price: float) -> None:
    with pytest.raises(HardcastError, match="rival"):
        break_even(product(), price, assumed())
