"""The chip as numbers: area, clock, speed, power and energy of a design on a node.

    subject = open_subject("llama-3.1-8b", "3/6")
    preset = get_preset("hc1")
    assumptions = chip_assumptions("n6")
    design = fit(Design(subject, preset.chip), assumptions)  # as many dies as the reticle asks for
    at_point = estimate(design, assumptions, position=1023)
    at_samples = estimate(design, assumptions.sampled(2000), position=1023)   # arrays

Every field of an Estimate that is computed from figures is a float, or float64[samples].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, reduce
from importlib import resources
from pathlib import Path

import numpy as np

from hardcast.chip import silicon
from hardcast.chip.blocks import bit_mm, parts
from hardcast.chip.cycles import TokenCycles
from hardcast.chip.design import Design
from hardcast.technology.assumptions import Assumptions, Real, middle
from hardcast.technology.figure import load_figures
from hardcast.technology.node import get_node

FIGURES = Path(str(resources.files(__package__))) / "figures.toml"


@cache
def chip_figures() -> Assumptions:
    """What the chip's own structure costs (figures.toml)."""
    texts, figures = load_figures(FIGURES)
    return Assumptions(figures, texts)


def chip_assumptions(node: str) -> Assumptions:
    """Figures of a node and of the chip. Raises HardcastError for an unknown node."""
    return get_node(node).joined(chip_figures())


@dataclass(frozen=True)
class Breakdown:
    """A group of parts. area_mm2: of all dies. energy_j: dynamic, of a run. leakage_w: of all."""

    area_mm2: Real
    energy_j: Real
    leakage_w: Real


@dataclass(frozen=True)
class Estimate:
    """A design on a node, every user at one position.

    die_mm2: of one die, area_mm2: of all. clock_limit: what decides the clock at the points.
    tokens_s_user: of one user; tokens_s: of all users of the system; tokens_s_die: of these, a die.
    power_w: of all dies working at that rate; card_w: with regulators and the rest of a card.
    power_by: dynamic power by group, and "leakage", "links and ports". groups: areas and energies.
    """

    design: Design
    node: str
    position: int
    cycles: TokenCycles
    groups: Mapping[str, Breakdown]
    die_mm2: Real
    width_mm: Real
    height_mm: Real
    clock_ghz: Real
    clock_limit: str
    tokens_s_user: Real
    tokens_s: Real
    power_w: Real
    card_w: Real
    power_by: Mapping[str, Real]
    mj_per_token: Real
    transistors: Real
    over_reticle: bool

    @property
    def dies(self) -> int:
        """Dies of the system."""
        return self.design.dies

    @property
    def area_mm2(self) -> Real:
        """Silicon of all dies."""
        return self.die_mm2 * self.dies

    @property
    def groups_mm2(self) -> Real:
        """Sum of the groups' areas: of whole stages, which pieces of unequal size exceed."""
        return sum(group.area_mm2 for group in self.groups.values())

    @property
    def tokens_s_die(self) -> Real:
        """All users' tokens/s over the dies."""
        return self.tokens_s / self.dies

    @property
    def watt_per_mm2(self) -> Real:
        """Mean density of power over the dies."""
        return self.power_w / self.area_mm2


def estimate(
    design: Design, a: Assumptions, position: int, clock_ghz: Real | None = None
) -> Estimate:
    """The design's figures. clock_ghz: taken for granted instead of what the node allows."""
    found = parts(design, a.texts["node.library"], position)
    cycles = design.cycles.token([position] * design.chip.users)
    stages, dies = design.stages, design.dies
    areas = {part.name: silicon.area_mm2(part, a) for part in found}
    overhead = 1 + a["chip.top_overhead"]
    die = silicon.die_mm2(areas.values(), design, a)
    width, height = silicon.sides_mm(die, a)
    if clock_ghz is None:
        limits = silicon.clock_limits_ps(design, a, width, height)
        period = reduce(np.maximum, limits.values())
        limit = max(limits, key=lambda name: middle(limits[name]))
        clock_ghz = 1000 / period
    else:
        limit = "given"
    energies = {part.name: silicon.energy_j(part, a) for part in found}
    clock = sum(silicon.clock_j(part, a, cycles.total) for part in found)
    wires = _wires_j(design, a, position, areas, (width, height))
    links = _links(design, a)
    seconds = cycles.total / (clock_ghz * 1e9) + links.seconds
    runs = stages / seconds  # of all groups of users under way
    leakage = {part.name: silicon.leakage_w(part, a) * stages for part in found}
    groups: dict[str, Breakdown] = {}
    for part in found:
        mine = Breakdown(
            areas[part.name] * overhead * stages, energies[part.name], leakage[part.name]
        )
        groups[part.group] = _plus(groups[part.group], mine) if part.group in groups else mine
    groups["wires"] = Breakdown(0.0, wires, 0.0)
    groups["clock"] = Breakdown(0.0, clock, 0.0)
    groups["host port"] = Breakdown(a["node.io_area"] * dies, links.energy_j, 0.0)
    dynamic = sum(group.energy_j for group in groups.values())
    ports = a["node.io_power"] * dies
    leaked = sum(leakage.values())
    power = dynamic * runs + leaked + ports
    power_by = {
        name: group.energy_j * runs for name, group in groups.items() if name != "host port"
    }
    power_by["links and ports"] = links.energy_j * runs + ports
    power_by["leakage"] = leaked
    users = design.chip.users
    tokens = users * runs
    reticle = a["node.reticle_width"] * a["node.reticle_height"]
    return Estimate(
        design=design,
        node=a.texts["node.name"],
        position=position,
        cycles=cycles,
        groups=groups,
        die_mm2=die,
        width_mm=width,
        height_mm=height,
        clock_ghz=clock_ghz,
        clock_limit=limit,
        tokens_s_user=1 / seconds,
        tokens_s=tokens,
        power_w=power,
        card_w=power / a["chip.regulator_efficiency"] + a["chip.card_power"],
        power_by=power_by,
        mj_per_token=power / tokens * 1e3,
        transistors=sum(silicon.transistors(part, a) for part in found) * stages,
        over_reticle=middle(die) > middle(reticle),
    )


def _plus(one: Breakdown, other: Breakdown) -> Breakdown:
    return Breakdown(
        one.area_mm2 + other.area_mm2,
        one.energy_j + other.energy_j,
        one.leakage_w + other.leakage_w,
    )


def _wires_j(
    design: Design,
    a: Assumptions,
    position: int,
    areas: Mapping[str, Real],
    sides: tuple[Real, Real],
) -> Real:
    """Energy of a run's bits on their way over the die, J."""
    regions = design.subject.program.shape.num_key_value_heads * design.chip.users
    heads = (areas["KV SRAM"] + areas["KV heads"]) / regions
    tiles = (areas["weight ROM"] + areas["tiles"]) / design.tiles
    moved = bit_mm(design, position, sides, np.sqrt(heads), np.sqrt(tiles))
    return moved * a["node.wire_energy"] * silicon.FJ


@dataclass(frozen=True)
class Links:
    """What several dies cost a run: seconds added to it, J of all bits between dies."""

    seconds: Real
    energy_j: Real


def _links(design: Design, a: Assumptions) -> Links:
    """Hops from stage to stage carry the residual; pieces exchange what every product gave."""
    if design.dies == 1:
        return Links(0.0, 0.0)
    shape, users = design.subject.program.shape, design.chip.users
    hops = design.stages if design.stages > 1 else 0
    exchanges = design.exchanges if design.pieces > 1 else 0
    hop_bits = hops * shape.hidden_size * 32 * users
    shared = a["chip.exchange_bits"] * design.row_values * users if exchanges else 0.0
    rate = a["node.link_rate"] * 1e9
    latency = (hops + exchanges) * a["node.link_latency"] * 1e-9
    bits = hop_bits + shared * (design.pieces - 1)
    return Links(latency + (hop_bits + shared) / rate, bits * a["node.link_energy"] * silicon.FJ)
