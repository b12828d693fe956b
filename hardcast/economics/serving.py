"""What a million tokens cost: hardware, power and cooling, network and storage, operations.

One function prices both sides: a hardwired chip differs from a rival only in what goes in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardcast.economics.cost import unit_cost, wall_power_w
from hardcast.economics.nre import first_chip, respin
from hardcast.economics.product import Product
from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions, Real

HOURS_A_YEAR = 24 * 365.25
SECONDS_A_YEAR = 3600 * HOURS_A_YEAR
SECONDS_A_DAY = 24 * 3600


@dataclass(frozen=True)
class ServingCost:
    """What one unit of hardware costs a year, in USD, and what it makes.

    hardware_usd: write-off and interest of the hardware; nre_usd: of its part of what is paid once.
    electricity_usd, building_usd: power and cooling, as energy and as the site that brings them.
    network_storage_usd, operations_usd. tokens: made in the year. years: the hardware's life.
    """

    hardware_usd: Real
    nre_usd: Real
    electricity_usd: Real
    building_usd: Real
    network_storage_usd: Real
    operations_usd: Real
    tokens: Real
    years: Real

    @property
    def parts(self) -> dict[str, Real]:
        """USD a year in four parts, which sum to total_usd; masks and design count as hardware."""
        return {
            "hardware": self.hardware_usd + self.nre_usd,
            "power and cooling": self.electricity_usd + self.building_usd,
            "network and storage": self.network_storage_usd,
            "operations": self.operations_usd,
        }

    @property
    def total_usd(self) -> Real:
        """USD a year."""
        return sum(self.parts.values())

    @property
    def tco_usd(self) -> Real:
        """USD over the hardware's life."""
        return self.total_usd * self.years

    @property
    def shares(self) -> dict[str, Real]:
        """The four parts as shares of 1."""
        return {name: usd / self.total_usd for name, usd in self.parts.items()}

    @property
    def usd_per_million_tokens(self) -> Real:
        """USD per million tokens made."""
        return 1e6 * self.total_usd / self.tokens


def yearly(usd: Real, years: Real, interest: Real) -> Real:
    """Equal payments a year that write `usd` off over `years` at an interest rate of 0 or more."""
    rate = np.maximum(interest, 1e-9)  # at 0 the formula is 0 / 0; its limit is usd / years
    return usd * rate / -np.expm1(-years * np.log1p(rate))


def serving_cost(
    hardware_usd: Real,
    power_w: Real,
    tokens_s: Real,
    assumptions: Assumptions,
    utilisation: Real | None = None,
    nre_usd: Real = 0.0,
    units: Real = 1.0,
    *,
    model_hardware_usd: Real = 0.0,
    model_nre_usd: Real = 0.0,
) -> ServingCost:
    """What a unit of hardware costs a year: a card, a server or a system, ours or a rival's.

    hardware_usd: its price with its share of a server. power_w: at the server's inlet, working,
    with its share of the server's. tokens_s: of all users together, at full load. utilisation:
    made of that, above 0 to 1; cost.utilisation without. nre_usd: paid once for `units` units.
    Of a chip that is good for one model alone: model_hardware_usd, hardware besides that lasts only
    as long as the model (cost.model_life), and model_nre_usd, paid for each model.

    Source: the method of HNLPU (arXiv 2508.16151, Appendix B), with interest and with buildings
    that outlive the hardware as in Barroso and others, The Datacenter as a Computer.
    Raises HardcastError for a utilisation outside of 0..1 and for tokens_s or units not above 0.
    """
    load = _load(assumptions, utilisation)
    for name, value in (("tokens a second", tokens_s), ("units", units)):
        if not np.all(np.asarray(value) > 0):
            raise HardcastError(f"{name} is {np.min(value):g}: expected more than 0")

    interest, years = assumptions["cost.interest"], assumptions["cost.life_years"]
    model_years = np.minimum(assumptions["cost.model_life"], years)
    both = hardware_usd + model_hardware_usd
    around = assumptions["cost.network_share"] + assumptions["cost.storage_share"]

    site_w = power_w * assumptions["cost.pue"]  # the building must bring full power at any load
    idle = assumptions["cost.idle_power"]
    kwh = site_w / 1e3 * (idle + (1 - idle) * load) * HOURS_A_YEAR
    building = site_w / 1e6 * assumptions["cost.building"]
    return ServingCost(
        hardware_usd=yearly(hardware_usd, years, interest)
        + yearly(model_hardware_usd, model_years, interest),
        nre_usd=(yearly(nre_usd, years, interest) + yearly(model_nre_usd, model_years, interest))
        / units,
        electricity_usd=kwh * assumptions["cost.electricity"],
        building_usd=yearly(building, assumptions["cost.building_years"], interest),
        network_storage_usd=yearly(around * both, years, interest),
        operations_usd=assumptions["cost.maintenance"] * (1 + around) * both,
        tokens=tokens_s * load * SECONDS_A_YEAR,
        years=years,
    )


def chip_serving_cost(
    product: Product,
    assumptions: Assumptions,
    systems: Real,
    utilisation: Real | None = None,
) -> ServingCost:
    """What one system costs a year to an operator who has `systems` of them cast for itself.

    Cards at their cost of making, replaced with every model; servers stay. The first chip's design
    and masks are written off over the hardware's life, a respin's over a model's.
    Raises HardcastError as serving_cost and unit_cost do.
    """
    unit = unit_cost(product, assumptions)
    again = respin(product, assumptions).total_usd
    return serving_cost(
        product.cards * unit.server_usd,
        wall_power_w(product, assumptions),
        product.tokens_s,
        assumptions,
        utilisation,
        nre_usd=first_chip(product, assumptions).total_usd - again,
        units=systems,
        model_hardware_usd=unit.cards_usd,
        model_nre_usd=again,
    )


def bought_serving_cost(
    product: Product, assumptions: Assumptions, utilisation: Real | None = None
) -> ServingCost:
    """What one system costs a year to an operator who buys it at unit_cost's price_usd.

    The maker's margin pays for masks and design, so none are counted besides.
    """
    unit = unit_cost(product, assumptions)
    server = product.cards * unit.server_usd
    return serving_cost(
        server,
        wall_power_w(product, assumptions),
        product.tokens_s,
        assumptions,
        utilisation,
        model_hardware_usd=unit.price_usd - server,
    )


def systems_for(
    product: Product,
    tokens_a_day: Real,
    assumptions: Assumptions,
    utilisation: Real | None = None,
) -> Real:
    """Systems, whole and at least one, that make so many tokens a day at a utilisation.

    Raises HardcastError for a utilisation outside of 0..1.
    """
    load = _load(assumptions, utilisation)
    return np.maximum(1, np.ceil(tokens_a_day / (product.tokens_s * load * SECONDS_A_DAY)))


def _load(assumptions: Assumptions, utilisation: Real | None) -> Real:
    load = assumptions["cost.utilisation"] if utilisation is None else utilisation
    if not np.all((np.asarray(load) > 0) & (np.asarray(load) <= 1)):
        raise HardcastError(f"utilisation is {load}: expected above 0, at most 1")
    return load
