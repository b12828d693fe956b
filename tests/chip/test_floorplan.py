"""The drawing of a die: its regions cover it, and have the estimate's areas."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.chip.design import Design
from hardcast.chip.estimate import chip_assumptions, estimate
from hardcast.chip.floorplan import ARRAY, HOST, TILES, floorplan
from tests.chip.drawn import designs, hc1

N6 = chip_assumptions("n6")


@given(design=designs(), node=st.sampled_from(["n6", "sg13g2", "n3e"]))
@settings(deadline=None)
def test_regions_cover_the_die_without_overlap(design: Design, node: str) -> None:
    made = estimate(design, chip_assumptions(node), 0)
    plan = floorplan(made)
    assert (plan.width, plan.height) == (made.width_mm, made.height_mm)
    assert sum(r.area_mm2 for r in plan.regions) == pytest.approx(made.die_mm2)
    tiny = 1e-9 * plan.height
    for index, one in enumerate(plan.regions):
        assert -tiny <= one.x and one.x + one.width <= plan.width + tiny
        assert -tiny <= one.y and one.y + one.height <= plan.height + tiny
        assert one.width > 0 and one.height > 0
        for other in plan.regions[index + 1 :]:
            beside = one.x + one.width <= other.x + tiny or other.x + other.width <= one.x + tiny
            above = one.y + one.height <= other.y + tiny or other.y + other.height <= one.y + tiny
            assert beside or above, (one, other)
    assert sum(plan.tile_shares.values()) == pytest.approx(1)


@given(design=designs())
@settings(deadline=None)
def test_areas_are_to_scale(design: Design) -> None:
    made = estimate(design, N6, 0)
    plan = floorplan(made)
    scale = made.die_mm2 / made.groups_mm2
    drawn: dict[str, float] = {}
    for region in plan.regions:
        drawn[region.group] = drawn.get(region.group, 0.0) + region.area_mm2
    for name, group in made.groups.items():
        if group.area_mm2 and name not in ARRAY:
            assert drawn.pop(name) == pytest.approx(group.area_mm2 * scale), name
    tiles = {name: made.groups[name].area_mm2 for name in ARRAY if name in made.groups}
    assert drawn == {TILES: pytest.approx(sum(tiles.values()) * scale)}
    for name, area in tiles.items():
        assert plan.tile_shares[name] == pytest.approx(area / sum(tiles.values()))


@given(design=designs())
@settings(deadline=None)
def test_both_sides_hold_every_column_of_tiles_once(design: Design) -> None:
    plan = floorplan(estimate(design, N6, 0))
    sides = [r for r in plan.regions if r.group == TILES]
    assert sum(r.columns for r in sides) == design.chip.slices
    widths = {round(r.width / r.columns, 9) for r in sides}
    assert len(widths) == 1  # a column is as wide on either side
    largest = -(-design.chip.tile_rows // design.pieces)
    assert all(r.rows == largest for r in sides)


def test_the_host_port_is_at_the_lower_edge_and_the_spine_in_the_middle() -> None:
    plan = floorplan(estimate(hc1(), N6, 0))
    regions = {r.group: r for r in plan.regions if r.group != TILES}
    port = regions[HOST]
    assert (port.x, port.y, port.width) == (0.0, 0.0, plan.width)
    spine = regions["spine"]
    assert spine.x + spine.width / 2 == pytest.approx(plan.width / 2)
    assert {"attention", "KV memory", "sampler"} <= set(regions)
