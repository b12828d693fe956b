"""Masks, design and weeks, against what HNLPU and Taalas say."""

from __future__ import annotations

import pytest

from hardcast.economics.cost_figures import cost_figures
from hardcast.economics.nre import first_chip, respin, turnaround
from hardcast.technology.node import get_node
from tests.economics.by_hand import assumed, product

# HNLPU, arXiv 2508.16151v2, Table 5 and Appendix B: low and high ends. A mask set counts as 130 DUV
# masks, of which ten differ between its sixteen chips.
HNLPU = [(15e6, 18.53e6, 59.46e6, 26.87e6), (30e6, 37.06e6, 123.5e6, 58.54e6)]


@pytest.mark.parametrize(("mask_set", "respin_usd", "total_usd", "design_usd"), HNLPU)
def test_masks_of_hnlpu(
    mask_set: float, respin_usd: float, total_usd: float, design_usd: float
) -> None:
    figures = assumed(node_mask_set=mask_set, node_mask_pair=mask_set * 10 / 130)
    system = product(dies=16, distinct_dies=16)
    assert respin(system, figures).masks_usd == pytest.approx(respin_usd, rel=0.01)
    masks = first_chip(system, figures).masks_usd
    assert masks == pytest.approx(total_usd - design_usd, rel=0.01)


def test_first_chip_on_n6_against_taalas() -> None:
    """About 30 million USD for everything up to HC1, a company of 24 included."""
    assert first_chip(product(), assumed()).total_usd == pytest.approx(30e6, rel=0.25)


def test_parts_sum() -> None:
    for cost in (first_chip(product(), assumed()), respin(product(), assumed())):
        assert cost.total_usd == pytest.approx(sum(cost.parts.values()))
        assert cost.total_usd > cost.masks_usd > 0


def test_a_respin_is_a_small_part() -> None:
    first, again = (f(product(), assumed()).total_usd for f in (first_chip, respin))
    assert again < first / 20


def test_design_grows_with_the_node() -> None:
    costs = [
        first_chip(product(), assumed(node_mask_set=price))
        for price in (50e3, 120e3, 1e6, 3e6, 10e6, 20e6, 60e6)
    ]
    for name in ("physical_usd", "ip_usd"):
        values = [getattr(cost, name) for cost in costs]
        assert values == sorted(values)
        assert values[0] == values[1]  # the curves end there
    assert len({cost.architecture_usd for cost in costs}) == 1


def test_every_distinct_die_needs_its_pair() -> None:
    one = product(dies=4)
    four = product(dies=4, distinct_dies=4)
    figures = assumed(node_mask_pair=300e3)
    assert first_chip(four, figures).masks_usd - first_chip(one, figures).masks_usd == 3 * 300e3
    assert respin(four, figures).masks_usd == 4 * 300e3


def test_weeks() -> None:
    weeks = turnaround(assumed(cost_model_weeks=2, cost_design_weeks=78))
    assert weeks.respin_weeks == 2 + 5 + 4
    assert weeks.first_weeks == 78 + 18 + 4


def test_two_months_lie_between_our_shortest_and_our_point() -> None:
    """Taalas claims two months from a model to cards."""
    figures = get_node("n6").joined(cost_figures())
    shortest = figures
    for name in ("cost.model_weeks", "node.respin_weeks", "node.test_weeks"):
        shortest = shortest.at_quantile(name, 0)
    claim = 2 * 52 / 12
    assert turnaround(shortest).respin_weeks < claim < turnaround(figures).respin_weeks
    assert turnaround(figures).respin_weeks < 2 * claim
