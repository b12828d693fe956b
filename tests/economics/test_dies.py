"""Dies per wafer and yield, against published counts and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.economics.dies import (
    die_yield,
    dies_per_wafer,
    fatal_defects,
    murphy_yield,
    negative_binomial_yield,
    poisson_yield,
    seeds_yield,
)
from hardcast.errors import HardcastError
from tests.economics.by_hand import assumed

DEFECTS = st.floats(0, 20)


@pytest.mark.parametrize(("die_mm2", "count"), [(827.08, 62), (815, 63)])
def test_published_counts(die_mm2: float, count: int) -> None:
    """HNLPU's and Princeton's, which leave out scribe and edge."""
    bare = assumed(node_scribe=0, node_wafer_edge=0)
    assert dies_per_wafer(die_mm2, bare) == count


def test_scribe_and_edge_cost_dies() -> None:
    assert dies_per_wafer(815, assumed()) < 63
    assert dies_per_wafer(4.0, assumed(node_scribe=0.2)) < dies_per_wafer(
        4.0, assumed(node_scribe=0.1)
    )


def test_published_yields() -> None:
    """HNLPU: 27 of 62 dies of 827 mm2 by Murphy at 0.11 a cm2."""
    assert round(62 * float(murphy_yield(8.27 * 0.11))) == 27
    defects = 8.15 * 0.09
    assert poisson_yield(defects) == pytest.approx(0.480, abs=5e-4)
    assert murphy_yield(defects) == pytest.approx(0.502, abs=5e-4)
    assert seeds_yield(defects) == pytest.approx(0.577, abs=5e-4)
    assert negative_binomial_yield(defects, 3) == pytest.approx(0.519, abs=5e-4)
    assert negative_binomial_yield(defects, 10) == pytest.approx(0.493, abs=5e-4)


@given(DEFECTS, st.floats(1, 2))
def test_models_are_ordered(defects: float, clustering: float) -> None:
    """Murphy's lies below the negative binomial for every x only up to alpha = 2."""
    found = [
        float(poisson_yield(defects)),
        float(murphy_yield(defects)),
        float(negative_binomial_yield(defects, clustering)),
        float(seeds_yield(defects)),
    ]
    assert all(a <= b * (1 + 1e-12) for a, b in zip(found[:-1], found[1:], strict=True))
    assert 0 <= found[0] and found[-1] <= 1


@given(DEFECTS, st.floats(1, 1000))
def test_clustering_spans_seeds_to_poisson(defects: float, clustering: float) -> None:
    between = float(negative_binomial_yield(defects, clustering))
    assert float(poisson_yield(defects)) <= between * (1 + 1e-9)
    assert between <= float(seeds_yield(defects)) * (1 + 1e-9)


def test_no_defects_no_loss() -> None:
    assert poisson_yield(0.0) == murphy_yield(0.0) == seeds_yield(0.0) == 1
    assert negative_binomial_yield(0.0, 3.0) == 1


@given(st.floats(10, 850), st.floats(0, 1), st.floats(0, 1))
def test_more_repair_never_hurts(die_mm2: float, one: float, two: float) -> None:
    least, most = sorted((one, two))
    assert die_yield(die_mm2, least, assumed()) <= die_yield(die_mm2, most, assumed())


def test_repair_at_its_ends() -> None:
    figures = assumed(cost_repair_success=1)
    assert die_yield(815, 1.0, figures) == 1
    assert die_yield(815, 0.0, figures) == negative_binomial_yield(8.15 * 0.09, 3.0)


def test_thinned_defects_follow_the_same_law() -> None:
    """Defects strewn over dies of gamma-spread densities, each mended or not, one by one."""
    figures = assumed(cost_repair_success=0.8)
    rng = np.random.default_rng(6)
    rates = rng.gamma(3, 8.15 * 0.09 / 3, 400_000)
    fatal = rng.binomial(rng.poisson(rates), 1 - 0.7 * 0.8)
    assert fatal_defects(815, 0.7, figures) == pytest.approx(float(fatal.mean()), rel=0.01)
    assert die_yield(815, 0.7, figures) == pytest.approx(float((fatal == 0).mean()), abs=0.003)


@pytest.mark.parametrize("die_mm2", [0.0, -1.0, 60_000.0, 80_000.0])
def test_what_fits_no_wafer_is_refused(die_mm2: float) -> None:
    with pytest.raises(HardcastError, match=f"{die_mm2:g} mm2"):
        dies_per_wafer(die_mm2, assumed())
