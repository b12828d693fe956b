"""What a system costs to make: parts that sum, published silicon, arrays that equal scalars."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.economics.cost import unit_cost, wall_power_w
from hardcast.economics.cost_figures import cost_figures
from hardcast.economics.nre import first_chip, respin
from hardcast.errors import HardcastError
from hardcast.technology.node import get_node, node_names
from tests.economics.by_hand import assumed, at_sample, product


def test_every_figure_is_called_cost_and_has_a_source() -> None:
    figures = cost_figures().figures
    assert figures
    assert all(name.startswith("cost.") and figure.source for name, figure in figures.items())


@pytest.mark.parametrize("price", [9346, 10000])
def test_silicon_of_a_reticle_on_n6(price: float) -> None:
    """270 to 340 USD a good die: 63 dies, yield 0.47 to 0.55, without probe."""
    bare = assumed(
        node_wafer_price=price, node_scribe=0, node_wafer_edge=0, node_defect_density=0.09
    )
    unit = unit_cost(product(), bare)
    assert 270 <= price / unit.dies_per_wafer / unit.die_yield <= 340
    # Probing good and bad dies adds little.
    assert 0 < unit.die_usd - price / unit.dies_per_wafer / unit.die_yield < 20


def test_a_die_on_the_packaged_n6() -> None:
    n6 = get_node("n6").joined(cost_figures())
    assert 270 <= unit_cost(product(), n6).die_usd <= 340


@pytest.mark.parametrize("name", node_names())
def test_every_packaged_node_has_a_price(name: str) -> None:
    """And none where a mm2 of good silicon costs nothing or more than gold."""
    node = get_node(name).joined(cost_figures())
    unit = unit_cost(product(die_mm2=100), node)
    assert 0.02 < unit.die_usd / 100 < 2
    assert sum(unit.parts.values()) == pytest.approx(unit.system_usd)
    assert first_chip(product(), node).total_usd > respin(product(), node).total_usd > 0


@given(st.integers(1, 40), st.integers(1, 8), st.floats(20, 850), st.floats(0, 1))
def test_parts_sum(dies: int, dies_a_card: int, die_mm2: float, share: float) -> None:
    system = product(dies=dies, dies_a_card=dies_a_card, die_mm2=die_mm2, repairable_share=share)
    unit = unit_cost(system, assumed())
    assert sum(unit.parts.values()) == pytest.approx(unit.system_usd)
    assert unit.system_usd == pytest.approx(unit.cards * (unit.card_usd + unit.server_usd))
    assert unit.cards == -(-dies // dies_a_card)
    assert unit.price_usd > unit.system_usd
    assert (unit.price_usd - unit.cards * unit.server_usd) * (1 - 0.6) == pytest.approx(
        unit.cards_usd
    )


def test_repair_makes_dies_cheaper() -> None:
    plain, spared = (
        unit_cost(product(repairable_share=share), assumed()).die_usd for share in (0.0, 0.6)
    )
    assert spared < plain


def test_power_at_the_wall() -> None:
    figures = assumed(cost_power_delivery=0.8, cost_server_power=500, cost_cards_a_server=10)
    assert wall_power_w(product(), figures) == pytest.approx(200 / 0.8 + 50)
    assert wall_power_w(product(dies=4, dies_a_card=2), figures) == pytest.approx(250 + 100)


def test_arrays_equal_scalars() -> None:
    sampled = assumed().sampled(20, seed=3)
    many = unit_cost(product(repairable_share=0.5), sampled)
    for index in (0, 7, 19):
        one = unit_cost(product(repairable_share=0.5), at_sample(sampled, index))
        for field in dataclasses.fields(one):
            value = getattr(many, field.name)
            expected = getattr(one, field.name)
            found = value if np.ndim(value) == 0 else value[index]
            assert found == pytest.approx(expected, rel=1e-12), field.name


def test_a_die_beyond_the_reticle_says_how_many() -> None:
    with pytest.raises(HardcastError, match=r"2000 mm2 is beyond .* 858 mm2: make it 3 dies"):
        unit_cost(product(die_mm2=2000), assumed())


def test_a_die_beyond_the_reticle_in_some_samples_is_priced() -> None:
    areas = np.array([800.0, 900.0])
    system = dataclasses.replace(product(), die_mm2=areas)
    cost = unit_cost(system, assumed()).die_usd
    assert isinstance(cost, np.ndarray) and cost[0] < cost[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"die_mm2": 0.0}, "die_mm2"),
        ({"tokens_s": -1.0}, "tokens_s"),
        ({"dies": 0}, "dies is below 1"),
        ({"distinct_dies": 2}, "more distinct_dies than dies"),
        ({"repairable_share": 1.5}, "repairable_share"),
    ],
)
def test_impossible_products(changes: dict[str, float], message: str) -> None:
    with pytest.raises(HardcastError, match=message):
        product(**changes)
