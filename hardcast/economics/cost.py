"""From a wafer's price to a system's: good die, package, test, card and its share of a server."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardcast.economics.dies import die_yield, dies_per_wafer
from hardcast.economics.product import Product
from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions, Real

SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class UnitCost:
    """What one system costs to make, in USD, without masks and design.

    A die: dies_per_wafer, die_yield, die_usd (good, probed). A chip: package_usd (substrate and
    bumps), assembly_usd, test_usd, lost_usd (those that packaging and final test lose), chip_usd.
    A card: board_usd, card_power_usd (regulators, supply, heat sink), card_usd; server_usd is its
    share of chassis, CPUs and network interface. A system: cards_usd, system_usd (with servers),
    price_usd (what a buyer pays if the maker of the cards takes the gross margin).
    """

    dies: Real
    cards: Real
    dies_per_wafer: Real
    die_yield: Real
    die_usd: Real
    package_usd: Real
    assembly_usd: Real
    test_usd: Real
    lost_usd: Real
    chip_usd: Real
    board_usd: Real
    card_power_usd: Real
    card_usd: Real
    server_usd: Real
    cards_usd: Real
    system_usd: Real
    price_usd: Real

    @property
    def parts(self) -> dict[str, Real]:
        """A system's cost in USD by part; they sum to system_usd."""
        return {
            "silicon": self.dies * self.die_usd,
            "package": self.dies * (self.package_usd + self.assembly_usd),
            "test": self.dies * self.test_usd,
            "lost in packaging": self.dies * self.lost_usd,
            "board": self.cards * self.board_usd,
            "power and cooling of the card": self.cards * self.card_power_usd,
            "server": self.cards * self.server_usd,
        }


def unit_cost(product: Product, assumptions: Assumptions) -> UnitCost:
    """What one system costs. Reads the node's figures and cost.*.

    Raises HardcastError for a die beyond the reticle (in every sample: one that is beyond it in
    some is priced there as if it could be made) or one that fits no wafer.
    """
    _check_reticle(product, assumptions)
    whole = dies_per_wafer(product.die_mm2, assumptions)
    share = die_yield(product.die_mm2, product.repairable_share, assumptions)
    test = assumptions["cost.tester_hour"] * assumptions["cost.test_seconds"] / SECONDS_AN_HOUR
    # Bad dies are probed too, so a good one carries its share of both.
    die = (assumptions["node.wafer_price"] / whole + test) / share
    package = assumptions["cost.package_area"] * product.die_mm2
    assembly = assumptions["cost.assembly"]
    chip = (die + package + assembly + test) / assumptions["cost.package_yield"]
    lost = chip - (die + package + assembly + test)

    cards = product.cards
    board = assumptions["cost.board"] + 0 * cards
    card_power = assumptions["cost.card_power"] * product.power_w / cards
    card = product.dies / cards * chip + board + card_power
    server = assumptions["cost.server"] / assumptions["cost.cards_a_server"]
    price = card / (1 - assumptions["cost.gross_margin"]) + server
    return UnitCost(
        dies=product.dies,
        cards=cards,
        dies_per_wafer=whole,
        die_yield=share,
        die_usd=die,
        package_usd=package,
        assembly_usd=assembly,
        test_usd=test,
        lost_usd=lost,
        chip_usd=chip,
        board_usd=board,
        card_power_usd=card_power,
        card_usd=card,
        server_usd=server,
        cards_usd=cards * card,
        system_usd=cards * (card + server),
        price_usd=cards * price,
    )


def wall_power_w(product: Product, assumptions: Assumptions) -> Real:
    """Watts of a working system at its servers' inlets.

    The dies' through their regulators and supplies, and the cards' shares of the hosts'.
    """
    host = assumptions["cost.server_power"] / assumptions["cost.cards_a_server"]
    return product.power_w / assumptions["cost.power_delivery"] + product.cards * host


def _check_reticle(product: Product, assumptions: Assumptions) -> None:
    reticle = assumptions["node.reticle_width"] * assumptions["node.reticle_height"]
    if np.all(np.asarray(product.die_mm2) > reticle):
        dies = np.ceil(np.min(product.die_mm2 * product.dies / reticle))
        raise HardcastError(
            f"{product.name}: a die of {np.min(product.die_mm2):.0f} mm2 is beyond the reticle's "
            f"{np.max(reticle):.0f} mm2: make it {dies:.0f} dies"
        )
