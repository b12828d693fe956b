"""How many dies a model needs."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hardcast.chip.design import Design
from hardcast.chip.estimate import chip_assumptions, estimate
from hardcast.chip.fit import MORE, fit
from hardcast.errors import HardcastError
from hardcast.technology.node import node_names
from tests.chip.drawn import designs, hc1

N6 = chip_assumptions("n6")


@given(design=designs(), node=st.sampled_from(node_names()))
@settings(deadline=None, max_examples=60)
def test_what_fits_is_no_larger_than_the_reticle(design: Design, node: str) -> None:
    a = chip_assumptions(node)
    try:
        made = fit(design, a)
    except HardcastError:
        assume(False)
    assert not estimate(made, a, 0).over_reticle
    assert dataclasses.replace(made, stages=design.stages, pieces=design.pieces) == design
    one = estimate(design.divided(1, 1), a, 0)
    assert (made.dies == 1) == (not one.over_reticle)


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ("llama-3.1-8b", {"users": 4}),
        ("llama-3.1-70b", {}),
        ("qwen3-32b", {"context": 8192}),
        ("llama-3.1-405b", {"tile_rows": 64}),
    ],
)
def test_no_other_division_is_much_smaller_or_faster_at_that_size(
    shape: str, changes: dict[str, int]
) -> None:
    made = fit(hc1(shape, **changes), N6)
    assert made.dies > 1
    speed = float(estimate(made, N6, 0).tokens_s_user)
    fitting = []
    for stages in range(1, made.subject.program.shape.num_hidden_layers + 1):
        for pieces in range(1, made.chip.tile_rows + 1):
            if stages * pieces > made.dies + 1:
                break
            e = estimate(made.divided(stages, pieces), N6, 0)
            if not e.over_reticle:
                fitting.append(e)
                break
    fewest = min(e.dies for e in fitting)
    most = max(fewest * MORE, fewest + 1)
    assert made.dies <= most
    assert speed == max(e.tokens_s_user for e in fitting if e.dies <= most)


def test_one_die_is_enough_for_what_hc1_was_made_for() -> None:
    assert fit(hc1(stages=4, pieces=2), N6).dies == 1


def test_what_is_too_large_in_one_row_of_tiles_is_refused() -> None:
    design = hc1("llama-3.1-405b", tile_rows=1, slices=512)
    with pytest.raises(HardcastError, match="one row of tiles of one layer is larger than the ret"):
        fit(design, chip_assumptions("sg13g2"))
