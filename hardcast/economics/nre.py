"""What is paid once: masks and design of the first chip and of further models; and the weeks."""

from __future__ import annotations

from dataclasses import dataclass

from hardcast.economics.product import Product
from hardcast.technology.assumptions import Assumptions, Real


@dataclass(frozen=True)
class Nre:
    """Expenses that do not depend on how many are made, in USD."""

    masks_usd: Real
    architecture_usd: Real = 0.0
    verification_usd: Real = 0.0
    physical_usd: Real = 0.0
    ip_usd: Real = 0.0
    package_usd: Real = 0.0

    @property
    def parts(self) -> dict[str, Real]:
        """USD by part; they sum to total_usd."""
        return {
            "masks": self.masks_usd,
            "architecture": self.architecture_usd,
            "verification": self.verification_usd,
            "physical design": self.physical_usd,
            "licensed IP": self.ip_usd,
            "package": self.package_usd,
        }

    @property
    def total_usd(self) -> Real:
        """All of it."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Turnaround:
    """Weeks to tested chips. first: from the start of a design. respin: from new weights."""

    first_weeks: Real
    respin_weeks: Real


def first_chip(product: Product, assumptions: Assumptions) -> Nre:
    """Masks and design of the first product on a node, its model included.

    One full mask set, and a pair of via masks for every further die with contents of its own.
    Design costs that grow with a node are read at the price of its mask set.
    """
    mask_set = assumptions["node.mask_set"]
    return Nre(
        masks_usd=mask_set + (product.distinct_dies - 1) * assumptions["node.mask_pair"],
        architecture_usd=assumptions["cost.architecture"],
        verification_usd=assumptions["cost.verification"],
        physical_usd=assumptions.at("cost.physical", mask_set),
        ip_usd=assumptions.at("cost.ip", mask_set),
        package_usd=assumptions["cost.package_design"],
    )


def respin(product: Product, assumptions: Assumptions) -> Nre:
    """A further model on the same dies: their pairs of via masks, and the check of the contents."""
    return Nre(
        masks_usd=product.distinct_dies * assumptions["node.mask_pair"],
        verification_usd=assumptions["cost.verification"] * assumptions["cost.respin_verification"],
    )


def turnaround(assumptions: Assumptions) -> Turnaround:
    """How long the first chip and a further model take.

    A respin's wafers are kept ready up to the layer before the via masks; the node's respin_weeks
    is what they need from mask data to the last metal.
    """
    test = assumptions["node.test_weeks"]
    return Turnaround(
        first_weeks=assumptions["cost.design_weeks"] + assumptions["node.fab_weeks"] + test,
        respin_weeks=assumptions["cost.model_weeks"] + assumptions["node.respin_weeks"] + test,
    )
