"""What a datasheet is about, and every answer that several of its sections need, computed once."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from hardcast.chip.design import Design
from hardcast.chip.estimate import Estimate, estimate
from hardcast.chip.fit import fit
from hardcast.chip.parameters import Preset
from hardcast.chip.subject import Subject
from hardcast.economics.breakeven import BreakEven, break_even
from hardcast.economics.compare import REFERENCE, ChipFigures, Row, compare
from hardcast.economics.cost import wall_power_w
from hardcast.economics.quote import Quote, quote
from hardcast.economics.serving import ServingCost, serving_cost
from hardcast.economics.validate import Residual, validate
from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.models.shapes import get_shape, shape_names
from hardcast.program.program import Shape
from hardcast.report.quality import Quality
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.uncertainty import Band, Swing, bands, tornado

USERS = (1, 2, 4, 8)  # users a read that are shown beside each other
PLACES = 12  # positions of the context that curves are drawn through, about


@dataclass(frozen=True)
class Case:
    """What the datasheet is of.

    asked: the design on one die; design: on as many as it needs. assumptions: as
    priced_assumptions gives them. position: of every user, for headlines. systems: that share masks
    and design. utilisation: None for what is assumed; clock_ghz: None for what the node allows.
    image: None for a shape without weights. quality: measured by `hardcast eval`, or None.
    """

    subject: Subject
    preset: Preset
    assumptions: Assumptions
    asked: Design
    design: Design
    position: int
    systems: int
    utilisation: float | None = None
    clock_ghz: float | None = None
    image: Image | None = None
    quality: Quality | None = None


@dataclass(frozen=True)
class Rival:
    """The reference of all comparisons, as far as it is known for this model.

    price_usd, power_w (at the wall), tokens_s: of the devices that it takes together.
    """

    row: Row
    price_usd: float
    power_w: float
    tokens_s: float

    def serving(self, a: Assumptions, utilisation: Real | None) -> ServingCost:
        """What it costs a year."""
        return serving_cost(self.price_usd, self.power_w, self.tokens_s, a, utilisation)


def answers(design: Design, case: Case, a: Assumptions) -> dict[str, Real]:
    """Every headline of a design, elementwise in the assumptions; keys end in their units."""
    found = quote(design, a, case.position, case.systems, case.utilisation, case.clock_ghz)
    made, product, unit = found.estimate, found.product, found.unit
    wall = wall_power_w(product, a)
    return {
        "area_mm2": made.area_mm2,
        "die_mm2": made.die_mm2,
        "transistors": made.transistors,
        "clock_ghz": made.clock_ghz,
        "tokens_s_user": made.tokens_s_user,
        "tokens_s": made.tokens_s,
        "tokens_s_die": made.tokens_s_die,
        "power_w": made.power_w,
        "card_w": made.card_w,
        "wall_w": wall,
        "watt_per_mm2": made.watt_per_mm2,
        "mj_per_token": made.mj_per_token,
        "wall_mj_per_token": wall / made.tokens_s * 1e3,
        "die_yield": unit.die_yield,
        "die_usd": unit.die_usd,
        "system_usd": unit.system_usd,
        "price_usd": unit.price_usd,
        "nre_usd": found.first.total_usd,
        "respin_usd": found.again.total_usd,
        "first_weeks": found.weeks.first_weeks,
        "respin_weeks": found.weeks.respin_weeks,
        "usd_per_million_tokens": found.serving.usd_per_million_tokens,
    }


@dataclass(frozen=True)
class Study:
    """A case and its answers, each computed when it is first asked for."""

    case: Case

    @cached_property
    def quote(self) -> Quote:
        """Everything at the figures' points."""
        c = self.case
        return quote(c.design, c.assumptions, c.position, c.systems, c.utilisation, c.clock_ghz)

    @property
    def estimate(self) -> Estimate:
        """The chip at the figures' points, at the headlines' position."""
        return self.quote.estimate

    @cached_property
    def headlines(self) -> dict[str, Band]:
        """Every answer with its band."""
        return self.bands_of(self.case.design)

    def bands_of(self, design: Design) -> dict[str, Band]:
        """Every answer about another design."""
        return bands(lambda a: answers(design, self.case, a), self.case.assumptions)

    @cached_property
    def positions(self) -> list[int]:
        """Positions that curves are drawn through: even steps, first and last of the context."""
        last = self.case.design.chip.context - 1
        return sorted({round(last * i / PLACES) for i in range(PLACES + 1)} | {self.case.position})

    @cached_property
    def along(self) -> list[tuple[Estimate, dict[str, Band]]]:
        """At each of `positions`: the estimate at points, and bands of speed and energy."""
        c, found = self.case, []
        for position in self.positions:

            def answer(a: Assumptions, position: int = position) -> Mapping[str, Real]:
                made = estimate(c.design, a, position, c.clock_ghz)
                return {
                    name: getattr(made, name)
                    for name in ("tokens_s_user", "tokens_s_die", "mj_per_token", "power_w")
                }

            here = estimate(c.design, c.assumptions, position, c.clock_ghz)
            found.append((here, bands(answer, c.assumptions)))
        return found

    @cached_property
    def by_users(self) -> dict[int, tuple[Design, dict[str, Band]]]:
        """Designs that differ in users a read alone, on as many dies as each needs.

        Those of USERS that no division into dies makes possible are not there.
        """
        c = self.case
        found = {c.design.chip.users: (c.design, self.headlines)}
        for users in USERS:
            if users not in found:
                chip = dataclasses.replace(c.asked.chip, users=users)
                with contextlib.suppress(HardcastError):
                    design = fit(dataclasses.replace(c.asked, chip=chip), c.assumptions)
                    found[users] = (design, self.bands_of(design))
        return dict(sorted(found.items()))

    @cached_property
    def swings(self) -> dict[str, list[Swing]]:
        """What moves each answer, the widest swing first."""
        c = self.case

        return tornado(lambda a: answers(c.design, c, a), c.assumptions)

    @cached_property
    def shape_name(self) -> str | None:
        """The published model of these sizes, whose speeds rivals have; None if there is none."""
        subject = self.case.subject
        return same_shape(subject.program.shape, first=subject.name)

    @cached_property
    def rows(self) -> list[Row]:
        """This chip, with the users a read that give a die most tokens, and all rivals.

        [] for a model whose sizes no rival is known to run.
        """
        if self.shape_name is None:
            return []
        mine = self.case.design.chip.users
        others = [users for users in self.by_users if users != mine]
        others.sort(key=lambda users: -self.by_users[users][1]["tokens_s_die"].point)
        chips = [
            chip_figures(users, *self.by_users[users], self.estimate.node, self.case.systems)
            for users in (mine, *others[:1])
        ]
        return compare(self.shape_name, chips, self.case.assumptions, self.case.utilisation)

    @cached_property
    def rival(self) -> Rival | None:
        """The reference, where price, power and speed at full load are known."""
        row = next((row for row in self.rows if row.name == REFERENCE), None)
        if row is None:
            return None
        found = [row.cells[name].value for name in ("price_usd", "power_w", "tokens_s_system")]
        price, power, tokens = found
        if price is None or power is None or tokens is None:
            return None
        return Rival(row, price, power, tokens)

    @cached_property
    def break_even(self) -> BreakEven | None:
        """Against the reference, at the figures' points."""
        if self.rival is None:
            return None
        c, rival = self.case, self.rival
        price = rival.serving(c.assumptions, c.utilisation).usd_per_million_tokens
        return break_even(self.quote.product, price, c.assumptions, c.utilisation)

    @cached_property
    def residuals(self) -> list[Residual]:
        """The model against published chips, whatever is cast here."""
        return list(_residuals())

    @property
    def utilisation(self) -> float:
        """Share of full load that costs are at."""
        given = self.case.utilisation
        return float(self.case.assumptions["cost.utilisation"]) if given is None else given

    @property
    def reticle_mm(self) -> tuple[float, float]:
        """Width and height of what one exposure covers."""
        a = self.case.assumptions
        return float(a["node.reticle_width"]), float(a["node.reticle_height"])


@cache
def _residuals() -> tuple[Residual, ...]:
    return tuple(validate())


def same_shape(shape: Shape, first: str = "") -> str | None:
    """A named shape with these sizes, which decide how fast a machine runs it.

    first: the name that is taken where several have them.
    """
    names, sizes = shape_names(), dataclasses.asdict(shape)
    for name in sorted(names, key=lambda name: name != first):
        config = get_shape(name).config
        if all(getattr(config, key) == size for key, size in sizes.items()):
            return name
    return None


def chip_figures(
    users: int, design: Design, found: Mapping[str, Band], node: str, systems: int
) -> ChipFigures:
    """A design as compare() wants it."""

    def triple(name: str) -> tuple[float, float, float]:
        return found[name].low, found[name].point, found[name].high

    dies = design.dies
    return ChipFigures(
        name=f"this chip, {users} user{'s' if users > 1 else ''}",
        node=node,
        dies=dies,
        users=users,
        area_mm2=triple("area_mm2"),
        power_w=triple("wall_w"),
        tokens_s_user=triple("tokens_s_user"),
        tokens_s_die=triple("tokens_s_die"),
        mj_per_token=triple("wall_mj_per_token"),
        price_usd=triple("price_usd"),
        unit_usd=triple("system_usd"),
        nre_usd=triple("nre_usd"),
        usd_per_million_tokens=triple("usd_per_million_tokens"),
        systems=systems,
        infrastructure=f"{dies} card{'s' if dies > 1 else ''} in air-cooled servers",
        source="this datasheet",
    )
