"""Cells scaled from what synthesis measured: to users, columns and libraries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.chip import logic
from hardcast.chip.logic import Cells
from hardcast.chip.measured import measured, measurements
from hardcast.errors import HardcastError
from hardcast.technology.node import LIBRARIES

TILES = [(2, False), (3, False), (4, False), (4, True)]


def fields(cells: Cells) -> tuple[float, float, float]:
    return cells.area_um2, cells.cycle_fj, cells.clock_fj


@given(a=st.integers(0, 99), b=st.integers(0, 99), n=st.integers(0, 9))
def test_cells_add_up(a: int, b: int, n: int) -> None:
    one, other = Cells(a, 2 * a, 3 * a), Cells(b, b, b)
    assert fields(one * n + other) == (n * a + b, 2 * n * a + b, 3 * n * a + b)


def test_energy_of_a_cycle_is_all_of_a_block_with_wires_at_its_pins() -> None:
    found = measured("asap7", "tile", bits=3, columns=8, users=2, recipe="3/6")
    cells = logic.tile("asap7", 3, 8, 2, False)
    assert cells.area_um2 == found["area_um2"]
    assert cells.cycle_fj == pytest.approx(128 * found["energy_wired_fj_per_op"], rel=1e-3)
    assert cells.clock_fj == found["energy_clock_fj"]


def test_a_lane_is_its_block_over_the_lanes_that_were_measured() -> None:
    whole, lane = logic.block("asap7", "quant"), logic.per_lane("asap7", "quant")
    assert fields(lane * 8) == pytest.approx(fields(whole))
    assert logic.per_lane("asap7", "rows") == logic.block("asap7", "rows")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("bits", "offsets"), TILES)
def test_a_further_user_costs_something_and_at_most_the_first(
    library: str, bits: int, offsets: bool
) -> None:
    tiles = [logic.tile(library, bits, 8, users, offsets) for users in range(1, 65)]
    areas = [tile.area_um2 for tile in tiles]
    steps = [b - a for a, b in zip(areas[:-1], areas[1:], strict=True)]
    assert all(0.85 * areas[0] < step <= areas[0] * 1.0001 for step in steps)
    energies = [tile.cycle_fj for tile in tiles]
    assert energies == sorted(energies)


def test_users_between_measured_ones_lie_on_the_line() -> None:
    two, three, four = (logic.tile("asap7", 3, 8, users, False) for users in (2, 3, 4))
    assert fields(three) == pytest.approx(fields((two + four) * 0.5))
    # SG13G2 knows 1 and 4 for 3 bits, and 1 alone for 4.
    one, two = (logic.tile("sg13g2", 4, 8, users, True) for users in (1, 2))
    assert fields(two) == pytest.approx(fields(one * 2))


def test_columns_change_area_and_energy_each_in_its_own_way() -> None:
    usual = logic.tile("asap7", 3, 8, 1, False)
    for columns in (4, 16):
        found = measured("asap7", "tile", bits=3, columns=columns, users=1, recipe="3/6")
        cells = logic.tile("asap7", 3, columns, 1, False)
        assert cells.area_um2 == pytest.approx(found["area_um2"])
        assert cells.cycle_fj == pytest.approx(64 * found["energy_wired_fj_per_op"], rel=1e-3)
        assert cells.clock_fj == pytest.approx(found["energy_clock_fj"])
    narrow = logic.tile("asap7", 3, 4, 1, False)
    assert narrow.area_um2 > usual.area_um2 and narrow.cycle_fj < usual.cycle_fj
    # Other widths and libraries are taken to change alike.
    ratio = (
        logic.tile("sg13g2", 2, 16, 1, False).area_um2
        / logic.tile("sg13g2", 2, 8, 1, False).area_um2
    )
    wide = logic.tile("asap7", 3, 16, 1, False)
    assert ratio == pytest.approx(wide.area_um2 / usual.area_um2)


def test_wider_codes_and_offsets_are_larger_tiles() -> None:
    areas = [logic.tile("asap7", bits, 8, 1, offsets).area_um2 for bits, offsets in TILES]
    assert areas == sorted(areas)


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(HardcastError, match="no tile of 2 columns was measured; there are: 4, 8,"):
        logic.tile("asap7", 3, 2, 1, False)
    with pytest.raises(HardcastError, match="asap7: no tile of 3 bits was measured"):
        logic.tile("asap7", 3, 8, 1, True)
    with pytest.raises(HardcastError, match="no measurement of nothing"):
        logic.block("asap7", "nothing")


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_slowest_path_is_that_of_the_slowest_block_of_the_chip(library: str) -> None:
    for bits, offsets in TILES:
        slowest = logic.slowest_path_ps(library, bits, offsets)
        others = [m["critical_path_ps"] for m in measurements(library) if m.block != "tile"]
        assert slowest >= max(others)
    # A tile of another recipe than the chip's own must not decide.
    paths = [
        (m["critical_path_ps"], m.options["bits"])
        for m in measurements(library)
        if m.block == "tile" and m.options["recipe"] != "linear"
    ]
    assert logic.slowest_path_ps(library, 2, False) <= max(*paths, (max(others), 0))[0]


def test_a_flip_flop_is_one_of_a_tiles() -> None:
    flop = logic.flip_flop("asap7")
    assert flop.area_um2 == pytest.approx(0.2916, rel=1e-3)
    assert 0 < flop.clock_fj < flop.cycle_fj < 2
