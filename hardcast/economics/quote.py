"""A design's price: what a system of it costs to make, to design, to run, and a million tokens."""

from __future__ import annotations

from dataclasses import dataclass

from hardcast.chip.design import Design
from hardcast.chip.estimate import Estimate, chip_assumptions, estimate
from hardcast.economics.cost import UnitCost, unit_cost
from hardcast.economics.cost_figures import cost_figures
from hardcast.economics.nre import Nre, Turnaround, first_chip, respin, turnaround
from hardcast.economics.product import Product
from hardcast.economics.serving import ServingCost, chip_serving_cost
from hardcast.technology.assumptions import Assumptions, Real

SYSTEMS = 10_000  # that share design and masks, where nobody says how many
REPAIRED = ("weights", "KV memory", "adapters")  # memories, which have spare rows and columns


@dataclass(frozen=True)
class Quote:
    """All that a buyer asks of one design. systems: how many share the design and masks."""

    estimate: Estimate
    product: Product
    unit: UnitCost
    first: Nre
    again: Nre
    weeks: Turnaround
    serving: ServingCost
    systems: float


def priced_assumptions(node: str) -> Assumptions:
    """Figures of a node, of the chip and of its economics. HardcastError for an unknown node."""
    return chip_assumptions(node).joined(cost_figures())


def product_of(made: Estimate) -> Product:
    """An estimate as economics sees it: every die has contents of its own."""
    memories = sum(made.groups[name].area_mm2 for name in REPAIRED if name in made.groups)
    return Product(
        name=made.design.subject.name,
        die_mm2=made.die_mm2,
        power_w=made.power_w,
        tokens_s_user=made.tokens_s_user,
        tokens_s=made.tokens_s,
        dies=made.dies,
        distinct_dies=made.dies,
        repairable_share=memories / made.groups_mm2,
    )


def quote(
    design: Design,
    a: Assumptions,
    position: int,
    systems: float,
    utilisation: Real | None = None,
    clock_ghz: Real | None = None,
) -> Quote:
    """Everything about a design at a position, of so many systems, at a utilisation.

    a: as priced_assumptions gives them. Raises HardcastError for a die beyond the reticle.
    """
    made = estimate(design, a, position, clock_ghz)
    product = product_of(made)
    return Quote(
        estimate=made,
        product=product,
        unit=unit_cost(product, a),
        first=first_chip(product, a),
        again=respin(product, a),
        weeks=turnaround(a),
        serving=chip_serving_cost(product, a, systems, utilisation),
        systems=systems,
    )
