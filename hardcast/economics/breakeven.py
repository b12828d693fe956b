"""From how many systems on a chip of one's own is cheaper than a rival's tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardcast.economics.product import Product
from hardcast.economics.serving import SECONDS_A_DAY, SECONDS_A_YEAR, chip_serving_cost
from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions, Real


@dataclass(frozen=True)
class BreakEven:
    """Where a chip's tokens cost what a rival's do.

    systems: how many (not rounded); infinite where more never help. tokens_a_day: that they make.
    nre_usd: masks and design a year that they must carry together. floor_usd: per million tokens,
    what the chip's cost with masks and design spread over endlessly many.
    """

    systems: Real
    tokens_a_day: Real
    nre_usd: Real
    floor_usd: Real


def break_even(
    product: Product,
    rival_usd_per_million_tokens: Real,
    assumptions: Assumptions,
    utilisation: Real | None = None,
) -> BreakEven:
    """The volume at which chip_serving_cost gives the rival's price per million tokens.

    With F the yearly masks and design, a what a system costs a year besides and T the tokens that
    it makes, (a + F / N) / T = p gives N = F / (p T - a); there is none unless p T > a.
    rival_usd_per_million_tokens: a rival's serving_cost, or what a service asks.
    Raises HardcastError for a rival's price that is not above 0.
    """
    price = np.asarray(rival_usd_per_million_tokens)
    if not np.all(price > 0):
        raise HardcastError(f"a rival at {np.min(price):g} USD a million tokens: expected above 0")
    one = chip_serving_cost(product, assumptions, 1.0, utilisation)
    besides = one.total_usd - one.nre_usd
    gain = price / 1e6 * one.tokens - besides
    with np.errstate(divide="ignore"):
        systems = np.where(gain > 0, one.nre_usd / np.maximum(gain, 0), np.inf)[()]
    return BreakEven(
        systems=systems,
        tokens_a_day=systems * one.tokens / SECONDS_A_YEAR * SECONDS_A_DAY,
        nre_usd=one.nre_usd,
        floor_usd=1e6 * besides / one.tokens,
    )
