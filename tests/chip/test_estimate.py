"""A design on a node: sums that have to agree, and what has to rise or fall with what."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.chip import silicon
from hardcast.chip.blocks import bit_mm, parts
from hardcast.chip.design import Design
from hardcast.chip.estimate import Estimate, chip_assumptions, estimate
from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions
from hardcast.technology.node import node_names
from tests.chip.drawn import designs, hc1

N6 = chip_assumptions("n6")
REALS = (
    "die_mm2",
    "width_mm",
    "height_mm",
    "clock_ghz",
    "tokens_s_user",
    "tokens_s",
    "power_w",
    "card_w",
    "mj_per_token",
    "transistors",
    "area_mm2",
    "groups_mm2",
    "tokens_s_die",
    "watt_per_mm2",
)


def rising(values: Sequence[float]) -> bool:
    return all(b > a for a, b in zip(values[:-1], values[1:], strict=True))


def at_hc1(position: int = 0, a: Assumptions = N6, **changes: int) -> Estimate:
    return estimate(hc1(**changes), a, position)


@given(design=designs(), node=st.sampled_from(node_names()), data=st.data())
@settings(deadline=None)
def test_sums_agree(design: Design, node: str, data: st.DataObject) -> None:
    a = chip_assumptions(node)
    position = data.draw(st.integers(0, design.chip.context - 1))
    e = estimate(design, a, position)
    dies, users = design.dies, design.chip.users
    assert sum(e.power_by.values()) == pytest.approx(e.power_w)
    assert e.mj_per_token * e.tokens_s == pytest.approx(e.power_w * 1e3)
    assert e.tokens_s == pytest.approx(e.tokens_s_user * users * design.stages)
    assert e.tokens_s_die * dies == pytest.approx(e.tokens_s)
    assert e.watt_per_mm2 * e.area_mm2 == pytest.approx(e.power_w)
    assert e.width_mm * e.height_mm == pytest.approx(e.die_mm2)
    assert e.area_mm2 == pytest.approx(e.die_mm2 * dies)
    # Pieces are whole rows of tiles: the largest decides, so that a system is no smaller than its
    # parts, and equal where the rows divide.
    assert e.groups_mm2 <= e.area_mm2 * (1 + 1e-9)
    if design.chip.tile_rows % design.pieces == 0:
        assert e.groups_mm2 == pytest.approx(e.area_mm2)
    leaked = sum(group.leakage_w for group in e.groups.values())
    assert e.power_by["leakage"] == pytest.approx(leaked)
    runs = e.tokens_s / users
    dynamic = sum(group.energy_j for group in e.groups.values()) * runs
    ports = a["node.io_power"] * dies
    assert e.power_w == pytest.approx(dynamic + leaked + ports)
    assert e.card_w > e.power_w
    if dies == 1:
        assert e.tokens_s_user * e.cycles.total == pytest.approx(e.clock_ghz * 1e9)


@given(design=designs(), node=st.sampled_from(node_names()))
@settings(deadline=None, max_examples=30)
def test_samples_are_each_what_they_would_be_alone(design: Design, node: str) -> None:
    a = chip_assumptions(node)
    drawn = a.sampled(4, seed=1)
    many = estimate(design, drawn, 0)
    for index in range(4):
        chosen = {name: float(np.asarray(u)[index]) for name, u in drawn.chosen.items()}
        one = estimate(design, dataclasses.replace(a, chosen=chosen), 0)
        for name in REALS:
            sample = np.broadcast_to(getattr(many, name), 4)[index]
            assert sample == pytest.approx(getattr(one, name), rel=1e-9), name
        for name, group in one.groups.items():
            for field in ("area_mm2", "energy_j", "leakage_w"):
                sample = np.broadcast_to(getattr(many.groups[name], field), 4)[index]
                assert sample == pytest.approx(getattr(group, field), rel=1e-9), (name, field)


def test_a_later_position_is_slower_and_costs_more() -> None:
    at = [at_hc1(position) for position in (0, 100, 500, 1023)]
    assert rising([-e.tokens_s_user for e in at])
    assert rising([e.mj_per_token for e in at])
    assert len({e.die_mm2 for e in at}) == 1


def test_more_users_are_more_silicon_and_power_and_no_one_is_faster() -> None:
    at = [at_hc1(users=users) for users in (1, 2, 3, 4, 8)]
    assert rising([e.die_mm2 for e in at]) and rising([e.power_w for e in at])
    assert rising([-e.tokens_s_user for e in at])  # embedding and angles, one user after another
    assert rising([e.tokens_s for e in at]) and rising([-e.mj_per_token for e in at])


def test_a_users_energy_is_his_own_and_a_share_of_the_rom() -> None:
    one, four = at_hc1(), at_hc1(users=4)
    assert four.groups["weights"].energy_j == pytest.approx(
        one.groups["weights"].energy_j, rel=0.01
    )
    for name in ("lanes", "attention", "KV memory", "wires", "clock"):
        ratio = four.groups[name].energy_j / one.groups[name].energy_j
        assert 2.5 < ratio < 4.4, name


def test_more_context_is_more_silicon_and_no_slower_at_once() -> None:
    at = [at_hc1(context=context) for context in (256, 1024, 4096)]
    assert rising([e.die_mm2 for e in at])
    assert len({e.cycles.total for e in at}) == 1


def test_more_tiles_are_faster_and_larger() -> None:
    at = [at_hc1(slices=slices) for slices in (16, 32, 64)]
    assert rising([e.tokens_s_user for e in at]) and rising(
        [e.groups["lanes"].area_mm2 for e in at]
    )


def test_denser_nodes_are_smaller_faster_and_burn_less() -> None:
    at = [estimate(hc1(), chip_assumptions(n), 0) for n in ("n28", "n16", "n7", "n5", "n3e")]
    assert rising([-e.groups["lanes"].area_mm2 for e in at])
    assert rising([e.clock_ghz for e in at])
    assert rising([-e.groups["lanes"].energy_j for e in at])
    areas = [e.die_mm2 for e in at]
    assert areas == sorted(areas, reverse=True)


def test_stages_run_as_many_groups_of_users_and_leak_as_often() -> None:
    one, four = at_hc1(), at_hc1(stages=4)
    assert four.cycles == one.cycles
    assert four.tokens_s == pytest.approx(4 * four.tokens_s_user)
    hops = 4 * (N6["node.link_latency"] * 1e-9 + 4096 * 32 / (N6["node.link_rate"] * 1e9))
    seconds = four.cycles.total / (four.clock_ghz * 1e9)
    assert 1 / four.tokens_s_user == pytest.approx(seconds + hops)
    lanes = [e.groups["lanes"].leakage_w for e in (one, four)]
    assert lanes[1] == pytest.approx(4 * lanes[0])
    rom = [e.groups["weights"].leakage_w for e in (one, four)]
    assert 1 <= rom[1] / rom[0] < 1.25  # layers are whole, and shallower macros less dense


def test_pieces_share_one_stages_leakage_and_wait_for_each_other() -> None:
    one, two = at_hc1(), at_hc1(pieces=2)
    assert two.groups["lanes"].leakage_w == one.groups["lanes"].leakage_w
    assert two.groups["KV memory"].area_mm2 == one.groups["KV memory"].area_mm2
    assert two.groups["spine"].area_mm2 > one.groups["spine"].area_mm2
    waits = two.design.exchanges * N6["node.link_latency"] * 1e-9
    bits = N6["chip.exchange_bits"] * two.design.row_values
    seconds = two.cycles.total / (two.clock_ghz * 1e9) + waits
    seconds += bits / (N6["node.link_rate"] * 1e9)
    assert 1 / two.tokens_s_user == pytest.approx(seconds)
    assert two.groups["host port"].energy_j == pytest.approx(bits * N6["node.link_energy"] * 1e-15)
    five = at_hc1(pieces=5)  # to four others
    assert five.groups["host port"].energy_j == pytest.approx(4 * two.groups["host port"].energy_j)
    # The largest of five pieces of 128 rows has 26 of them.
    core = five.die_mm2 - N6["node.io_area"]
    found = parts(five.design, "asap7", 0)
    assert core == pytest.approx(
        sum(silicon.area_mm2(part, N6) for part in found) * 1.09 * 26 / 128
    )


def test_energy_of_wires_counts_each_users_own_heads() -> None:
    """A KV head's region is one user's: more users have more of them, no larger ones."""
    e = at_hc1(1023, users=3)
    areas = {part.name: silicon.area_mm2(part, N6) for part in parts(e.design, "asap7", 1023)}
    head = (areas["KV SRAM"] + areas["KV heads"]) / (8 * 3)
    tile = (areas["weight ROM"] + areas["tiles"]) / 8192
    sides = (e.width_mm, e.height_mm)
    moved = bit_mm(e.design, 1023, sides, np.sqrt(head), np.sqrt(tile))
    expected = moved * N6["node.wire_energy"] * 1e-15
    assert e.groups["wires"].energy_j == pytest.approx(expected)


def test_a_given_clock_is_taken_for_granted() -> None:
    e = estimate(hc1(), N6, 0, clock_ghz=1.0)
    assert (e.clock_ghz, e.clock_limit) == (1.0, "given")
    assert e.tokens_s_user == pytest.approx(1e9 / e.cycles.total)
    assert e.die_mm2 == at_hc1().die_mm2


def test_the_slowest_limit_decides_the_clock() -> None:
    for changes in ({}, {"broadcast_stages": 0, "gather_stages": 0}):
        e = at_hc1(**changes)
        limits = silicon.clock_limits_ps(e.design, N6, e.width_mm, e.height_mm)
        assert e.clock_limit == max(limits, key=lambda name: limits[name])
        assert e.clock_ghz == pytest.approx(1000 / max(limits.values()))
    assert e.clock_limit == "wires"
    slow = N6.scaled("node.sram_access", 10.0)
    assert at_hc1(a=slow).clock_limit == "SRAM"
    assert at_hc1(a=N6.scaled("node.rom_access", 10.0)).clock_limit == "ROM"


def test_a_die_over_the_reticle_is_said_to_be() -> None:
    assert not at_hc1().over_reticle
    assert at_hc1(shape="llama-3.1-70b").over_reticle


def test_adapters_and_their_memory_show_as_a_group() -> None:
    design = dataclasses.replace(hc1(), lora_rank=16)
    e = estimate(design, N6, 0)
    assert e.die_mm2 > at_hc1().die_mm2
    assert e.groups["adapters"].area_mm2 == pytest.approx(e.die_mm2 - at_hc1().die_mm2)


@pytest.mark.parametrize("node", node_names())
def test_every_node_prices_a_chip(node: str) -> None:
    a = chip_assumptions(node)
    e = estimate(hc1(), a, 0)
    assert all(float(getattr(e, name)) > 0 for name in REALS)
    unread = {name for name in a.figures if name.startswith("chip.")} - a.read
    # What validate, and a datasheet, read of the same file.
    assert unread <= {"chip.two_port", "chip.air_limit", "chip.exchange_bits"}


def test_an_unknown_node_is_refused() -> None:
    with pytest.raises(HardcastError, match="no process node 'n4'"):
        chip_assumptions("n4")
