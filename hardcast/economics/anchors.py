"""Published chips that the model is held against: their facts, and ours of the same quantities.

anchors/<name>.toml has what is published of a chip ([published]) and its design facts ([given]),
each with kind and source; anchors/checks.toml what is compared, within which tolerance, and how an
anchor is laid out as a chip of ours.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hardcast import models
from hardcast.chip import logic, silicon
from hardcast.chip.blocks import Memory, Part
from hardcast.chip.design import Design
from hardcast.chip.estimate import estimate
from hardcast.chip.parameters import BLOCK, get_preset
from hardcast.chip.subject import Form, Subject
from hardcast.economics.dies import dies_per_wafer, murphy_yield
from hardcast.economics.nre import first_chip, turnaround
from hardcast.economics.product import Product
from hardcast.economics.quote import product_of
from hardcast.economics.rivals import get_rival
from hardcast.economics.roofline import LENGTHS, batched_bound, machine, one_user_bound
from hardcast.models.shapes import get_shape
from hardcast.quantize import recipe as recipes
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.figure import load_figures

FOLDER = Path(str(resources.files(__package__))) / "anchors"
DEEPEST = 8192

Ours = Mapping[str, Callable[[float], Real]]
"""Our value of a quantity, by its published name. The argument: the place on a published curve."""


@dataclasses.dataclass(frozen=True)
class Anchor:
    """A published chip. facts: its figures, published.* and given.*; texts: what is no number."""

    name: str
    facts: Assumptions
    design: Mapping[str, Any]

    @property
    def node(self) -> str:
        """The node that it is made in."""
        return self.facts.texts["node"]


def alternatives(anchor: Anchor) -> Iterator[tuple[str, int, int, Anchor]]:
    """The anchor with one of our assumptions about its design changed: name, ours, instead, anchor.

    Values are powers of two times ours, the nearest first.
    """
    of = anchor.design
    for name in of.get("assumed", ()):
        value = of["changes"].get(name, getattr(get_preset(of["preset"]).chip, name))
        for factor in (2, 0.5, 4, 0.25, 8, 0.125):
            changes = {**of["changes"], name: int(value * factor)}
            changed = dataclasses.replace(anchor, design={**of, "changes": changes})
            yield name, value, changes[name], changed


@cache
def checks() -> dict[str, Any]:
    """anchors/checks.toml as it stands."""
    found: dict[str, Any] = tomllib.loads((FOLDER / "checks.toml").read_text("utf-8"))
    return found


def get_anchor(name: str) -> Anchor:
    """The anchor called `name`; there is one for each file of facts."""
    texts, figures = load_figures(FOLDER / f"{name}.toml")
    return Anchor(name, Assumptions(figures, texts), checks()["designs"].get(name, {}))


def ours(anchor: Anchor, a: Assumptions) -> Ours:
    """Our values of an anchor's quantities under figures of its node, of the chip and of cost."""
    return {"hc1": _hc1, "roma": _roma, "hnlpu": _hnlpu, "h100": _h100}[anchor.name](anchor, a)


def design_of(anchor: Anchor) -> Design:
    """The anchor as a chip of ours."""
    of = anchor.design
    config = get_shape(of["shape"]).config
    if of.get("layers_only"):  # one block of rows stands for what is not on the die
        config = dataclasses.replace(config, vocab_size=BLOCK)
    program, code = models.build_program(config), recipes.get(of["recipe"])
    forms = {}
    for matrix in program.matrices():
        entry = code.code(matrix)
        planes = 1 if of.get("layers_only") else entry.planes
        forms[matrix] = Form(entry.bits, planes, entry.group_size, entry.kind == "asymmetric")
    chip = dataclasses.replace(get_preset(of["preset"]).chip, **of["changes"])
    subject = Subject(anchor.name, program, forms, of["recipe"])
    return Design(subject, chip, lora_rank=of.get("lora_rank", 0))


def _hc1(anchor: Anchor, a: Assumptions) -> Ours:
    made = estimate(design_of(anchor), a, anchor.design["position"])
    product = product_of(made)
    return {
        "area_mm2": lambda _: made.die_mm2,
        "tokens_s_user": lambda _: made.tokens_s_user,
        "power_w": lambda _: made.card_w,
        "transistors": lambda _: made.transistors,
        "respin_weeks": lambda _: turnaround(a).respin_weeks,
        "development_usd": lambda _: first_chip(product, a).total_usd,
    }


def _roma(anchor: Anchor, a: Assumptions) -> Ours:
    design, clock = design_of(anchor), anchor.facts["given.clock_hz"] / 1e9
    made = estimate(design, a, anchor.design["position"], clock)

    def speed(tokens: float) -> Real:
        return estimate(design, a, int(tokens) - 1, clock).tokens_s_user

    return {
        "area_mm2": lambda _: made.die_mm2,
        "power_w": lambda _: made.power_w,
        "tokens_s_decode": speed,
        "tokens_s_by_input": speed,
    }


def _hnlpu(anchor: Anchor, a: Assumptions) -> Ours:
    given, die = anchor.facts, anchor.facts["published.area_mm2"]
    dies = given["given.dies"]
    product = Product(
        name=anchor.name,
        die_mm2=die,
        power_w=given["published.power_w"] * dies,
        tokens_s_user=given["published.tokens_s_user"],
        tokens_s=given["published.tokens_s_system"],
        dies=dies,
        distinct_dies=dies,
    )
    array, buffer = _hn_array(given), _kv_buffer(given)
    overhead = 1 + a["chip.top_overhead"]
    defects = die / 100 * a["node.defect_density"]
    # Its weights take more masks than the two of ours; a pair's price counts for each two of them.
    pairs = given["given.masks_of_weights"] / 2
    pair = a["node.mask_pair"] * pairs

    def power(part: Part) -> Real:
        """Watts of a part whose work is that of a second: no cycle is idle but where it says."""
        clock = silicon.clock_j(part, a, part.busy)
        return silicon.energy_j(part, a) + clock + silicon.leakage_w(part, a)

    def nre_of_weights(weights: float) -> Real:
        """Masks and design of a model of so many weights, on dies that hold as many as HNLPU's."""
        count = np.ceil(weights / (given["given.weights"] / dies))
        single = dataclasses.replace(product, dies=1, distinct_dies=1)
        return first_chip(single, a).total_usd + (count - 1) * pair

    return {
        "area_hn_array_mm2": lambda _: silicon.area_mm2(array, a) * overhead,
        "power_hn_array_w": lambda _: power(array),
        "area_kv_sram_mm2": lambda _: silicon.area_mm2(buffer, a) * a["chip.two_port"] * overhead,
        "power_kv_sram_w": lambda _: power(buffer),
        "tokens_s_system": lambda _: _link_bound(anchor, a),
        "dies_per_wafer": lambda _: dies_per_wafer(die, a),
        "yield_good": lambda _: murphy_yield(defects),
        "good_die_usd": lambda _: (
            a["node.wafer_price"] / dies_per_wafer(die, a) / murphy_yield(defects)
        ),
        "masks_shared_usd": lambda _: a["node.mask_set"] - pair,
        "masks_weights_usd": lambda _: dies * pair,
        "nre_usd": lambda _: nre_of_weights(float(given["given.weights"])),
        "nre_usd_by_weights": nre_of_weights,
    }


def _hn_array(given: Assumptions) -> Part:
    """HNLPU's weights of a die as ROM beside tiles of 4 bits; its work in a second."""
    names = ("weights", "active_weights", "dies", "weight_bits")
    weights, active, dies, bits = (float(given[f"given.{name}"]) for name in names)
    word = BLOCK * bits + 8
    tiles = weights / dies / BLOCK / DEEPEST
    words_s = active / dies / BLOCK * float(given["published.tokens_s_system"])
    memory = Memory("rom", weights / dies / BLOCK * word, DEEPEST, words_s * word)
    cells = logic.tile("asap7", 4, 8, 1, False) * tiles
    return Part("array", "array", cells, words_s / tiles, memory)


def _kv_buffer(given: Assumptions) -> Part:
    """HNLPU's attention buffer, every bank read all the time."""
    words = given["given.sram_bank_bytes"] * 8 / given["given.sram_port_bits"]
    bits = given["given.sram_bytes"] * 8
    read = given["given.sram_bytes_s"] * 8
    memory = Memory("sram", float(bits), float(words), float(read))
    return Part("buffer", "buffer", memory=memory)


def _link_bound(anchor: Anchor, a: Assumptions) -> Real:
    """Tokens/s that HNLPU's links carry if every die sends its results to all others.

    A layer's results: q, k, v, attention's product, and of each active expert gate, up and down.
    """
    given, of = anchor.facts, anchor.design
    hidden = of["hidden_size"]
    values = of["heads_width"] + 2 * of["kv_width"] + hidden
    values += 3 * hidden * given["given.active_experts"]
    dies = given["given.dies"]
    bits = given["given.layers"] * values * a["chip.exchange_bits"] * (dies - 1) / dies
    return given["given.links_per_die"] * given["given.link_bytes_s"] * 8 / bits


def _h100(anchor: Anchor, a: Assumptions) -> Ours:
    """Rooflines of one GPU: bounds that published speeds lie below, and not far below."""
    shape, rival = get_shape(anchor.facts.texts["model"]), get_rival("h100")
    bf16, fp8 = machine(rival, "bf16", 1.0), machine(rival, "fp8", 1.0)
    context = sum(LENGTHS) - LENGTHS[1] // 2
    usual = machine(rival, "bf16", 1.0, at_best=False)
    return {
        "tokens_s_user_roofline_bf16": lambda _: (
            one_user_bound(shape, usual) / a["memory.sustained"]  # of the peak, as published
        ),
        "tokens_s_user": lambda _: one_user_bound(shape, bf16, context),
        "tokens_s_batched": lambda _: batched_bound(shape, fp8, LENGTHS),
    }
