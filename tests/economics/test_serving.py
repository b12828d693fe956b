"""What a million tokens cost: identities, HNLPU's own account of an H100, HC1's claim."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.economics.cost import unit_cost, wall_power_w
from hardcast.economics.serving import (
    bought_serving_cost,
    chip_serving_cost,
    serving_cost,
    systems_for,
    yearly,
)
from hardcast.errors import HardcastError
from tests.economics.by_hand import assumed, at_sample, product

# An eighth of a node of eight H100, server included: price and power as HNLPU takes them, tokens/s
# of TensorRT-LLM's table for Llama 3.1 8B, 1000 in and 1000 out.
H100 = {"hardware_usd": 40_000.0, "power_w": 1300.0, "tokens_s": 15_220.0}


@given(st.floats(1, 30), st.floats(0, 0.2))
def test_yearly_payments_are_worth_the_sum(years: float, interest: float) -> None:
    whole = round(years)
    payment = float(yearly(1000, whole, interest))
    worth = sum(payment / (1 + interest) ** year for year in range(1, whole + 1))
    assert worth == pytest.approx(1000, rel=1e-6)


@given(
    st.floats(100, 1e6), st.floats(1, 1e5), st.floats(1, 1e6), st.floats(0.01, 1), st.floats(0, 1e8)
)
def test_shares_sum(usd: float, watts: float, tokens: float, load: float, nre: float) -> None:
    cost = serving_cost(usd, watts, tokens, assumed(), load, nre, 100)
    assert sum(cost.shares.values()) == pytest.approx(1)
    assert all(share >= 0 for share in cost.shares.values())
    assert cost.tco_usd == pytest.approx(cost.total_usd * 5)


def test_hnlpus_account_of_h100() -> None:
    """HNLPU, Table 3: 191.2 million USD for 2,000 GPUs in three years, in these shares."""
    theirs = assumed(
        cost_life_years=3,
        cost_building_years=3,
        cost_interest=0,
        cost_network_share=45_000 / 320_000,
        cost_storage_share=0,
        cost_pue=1.4,
        cost_electricity=0.095,
        cost_building=12e6,
    )
    cost = serving_cost(**H100, assumptions=theirs, utilisation=1.0)
    total = 191.2e6 / 2000 / 3
    assert cost.hardware_usd / total == pytest.approx(0.418, abs=0.002)
    infrastructure = cost.building_usd + cost.network_storage_usd
    assert infrastructure / total == pytest.approx(0.287, abs=0.002)
    assert cost.electricity_usd / total == pytest.approx(0.048, abs=0.001)


def test_shares_of_an_h100() -> None:
    """Between the two published accounts, or near them.

    A blog article has hardware 40 to 50 %, power and cooling 20 to 30 %, network and storage 10 to
    15 %, operations 10 to 15 %; HNLPU, its building counted as power and cooling: 42, 28, 6, 25 %.
    """
    shares = serving_cost(**H100, assumptions=assumed()).shares
    assert 0.40 <= shares["hardware"] <= 0.60
    assert 0.15 <= shares["power and cooling"] <= 0.30
    assert 0.06 <= shares["network and storage"] <= 0.15
    assert 0.10 <= shares["operations"] <= 0.25


def test_an_hc1_at_volume_against_its_reported_cost() -> None:
    """0.0075 USD a million tokens is reported of HC1."""
    cost = chip_serving_cost(product(), assumed(), 50_000).usd_per_million_tokens
    assert cost == pytest.approx(0.0075, rel=0.25)


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_use_makes_tokens_cheaper(one: float, two: float) -> None:
    least, most = sorted((one, two))
    costs = [
        serving_cost(**H100, assumptions=assumed(), utilisation=load).usd_per_million_tokens
        for load in (least, most)
    ]
    assert costs[0] >= costs[1] * (1 - 1e-12)


def test_volume_makes_tokens_cheaper() -> None:
    systems = np.logspace(0, 6, 13)
    costs = chip_serving_cost(product(), assumed(), systems).usd_per_million_tokens
    assert isinstance(costs, np.ndarray)
    assert np.all(np.diff(costs) < 0)


def test_electricity_falls_at_rest_and_building_does_not() -> None:
    figures = assumed(cost_idle_power=0.2)
    half, full = (
        serving_cost(**H100, assumptions=figures, utilisation=load) for load in (0.5, 1.0)
    )
    assert half.electricity_usd == pytest.approx(0.6 * full.electricity_usd)
    assert half.building_usd == full.building_usd


def test_both_sides_are_priced_alike() -> None:
    """Without masks and design, a chip whose model outlives the hardware is one more rival."""
    figures = assumed(cost_model_life=9)
    ours = chip_serving_cost(product(), figures, 1.0)
    buyable = ours.total_usd - ours.nre_usd
    rival = serving_cost(
        unit_cost(product(), figures).system_usd,
        wall_power_w(product(), figures),
        product().tokens_s,
        figures,
    )
    assert rival.total_usd == pytest.approx(buyable)


def test_a_short_lived_model_costs_cards_but_no_servers() -> None:
    short, long = (
        chip_serving_cost(product(), assumed(cost_model_life=life), 1e4) for life in (0.5, 3)
    )
    assert short.hardware_usd > long.hardware_usd
    assert short.nre_usd > long.nre_usd
    assert short.electricity_usd == long.electricity_usd
    assert short.network_storage_usd == long.network_storage_usd


def test_a_buyer_pays_the_margin_but_no_design() -> None:
    bought = bought_serving_cost(product(), assumed())
    assert bought.nre_usd == 0
    own = chip_serving_cost(product(), assumed(), 1e12)
    assert bought.hardware_usd > own.hardware_usd


def test_systems_for_a_demand() -> None:
    figures = assumed(cost_utilisation=0.5)
    one = 16960 * 0.5 * 86400
    assert systems_for(product(), 1.0, figures) == 1
    assert systems_for(product(), 10.5 * one, figures) == 11
    assert systems_for(product(), 10.5 * one, figures, utilisation=1.0) == 6


def test_arrays_equal_scalars() -> None:
    sampled = assumed().sampled(20, seed=4)
    many = chip_serving_cost(product(), sampled, 1000)
    for index in (0, 19):
        one = chip_serving_cost(product(), at_sample(sampled, index), 1000)
        for field in dataclasses.fields(one):
            value, expected = getattr(many, field.name), getattr(one, field.name)
            found = value if np.ndim(value) == 0 else value[index]
            assert found == pytest.approx(expected, rel=1e-12), field.name


@pytest.mark.parametrize("load", [0.0, -0.1, 1.01, float("nan")])
def test_impossible_utilisation(load: float) -> None:
    with pytest.raises(HardcastError, match="utilisation"):
        serving_cost(**H100, assumptions=assumed(), utilisation=load)
    with pytest.raises(HardcastError, match="utilisation"):
        systems_for(product(), 1e9, assumed(), load)


def test_impossible_speed_and_volume() -> None:
    with pytest.raises(HardcastError, match="tokens a second"):
        serving_cost(1000, 100, 0, assumed())
    with pytest.raises(HardcastError, match="units"):
        chip_serving_cost(product(), assumed(), 0)
