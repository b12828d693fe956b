"""Bands and swings of answers whose distribution is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.figure import parse_figure
from hardcast.technology.uncertainty import HIGH, LOW, SAMPLES, Band, Swing, bands, tornado


def assumed(**figures: tuple[float, float, float]) -> Assumptions:
    """Figures of low, value, high."""
    made = {}
    for name, (low, value, high) in figures.items():
        entry = {"value": value, "low": low, "high": high, "unit": "-", "kind": "paper"}
        made[name] = parse_figure(name, name, {**entry, "source": "by hand"})
    return Assumptions(made)


A = assumed(wide=(1, 10, 1000), narrow=(90, 100, 110), sure=(7, 7, 7), idle=(1, 2, 3))


def answer(a: Assumptions) -> Mapping[str, Real]:
    return {
        "wide": a["wide"],
        "inverse": 1 / a["narrow"],
        "both": a["wide"] * a["narrow"] + a["sure"],
        "sure": a["sure"],
    }


def test_a_band_is_the_10th_and_90th_percentile() -> None:
    found = bands(answer, A, samples=20000)
    # Half of the probability on either side of the point, evenly on a logarithmic scale.
    assert found["wide"].low == pytest.approx(1 * 10 ** (2 * LOW), rel=0.03)
    assert found["wide"].high == pytest.approx(10 * 100 ** (2 * HIGH - 1), rel=0.05)
    assert found["wide"].median == pytest.approx(10, rel=0.05)
    assert found["wide"].point == 10
    assert found["inverse"].low == pytest.approx(1 / (100 * 1.1 ** (2 * HIGH - 1)), rel=0.01)
    assert found["inverse"].high == pytest.approx(1 / (90 * (100 / 90) ** (2 * LOW)), rel=0.01)
    assert found["sure"] == Band(7, 7, 7, 7)


def test_draws_are_independent_and_seeded() -> None:
    one, same, other = (bands(answer, A, seed=seed) for seed in (3, 3, 4))
    assert one == same != other
    more = assumed(wide=(1, 10, 1000), narrow=(90, 100, 110), sure=(7, 7, 7), new=(1, 5, 9))
    assert bands(answer, more, seed=3) == one  # a figure more changes no other's draw
    drawn = A.sampled(SAMPLES, 3)
    assert abs(np.corrcoef(np.log(drawn["wide"]), drawn["narrow"])[0, 1]) < 0.1


@given(
    low=st.floats(0.1, 1), up=st.floats(1, 10), factor=st.floats(0.01, 100), seed=st.integers(0, 9)
)
@settings(max_examples=30)
def test_a_monotone_answers_band_holds_its_point(
    low: float, up: float, factor: float, seed: int
) -> None:
    a = assumed(f=(low, 1.0, up))
    found = bands(lambda b: {"x": factor * b["f"]}, a, seed=seed)["x"]
    assert found.low <= found.point * (1 + 1e-12) and found.point <= found.high * (1 + 1e-12)
    assert factor * low * (1 - 1e-12) <= found.low and found.high <= factor * up * (1 + 1e-12)
    expected = {"low": found.low, "point": found.point, "median": found.median, "high": found.high}
    assert found.to_json() == expected


def test_a_band_in_another_unit() -> None:
    assert Band(1, 2, 4, 3).scaled(1000) == Band(1000, 2000, 4000, 3000)


def test_a_tornado_names_what_moves_an_answer_the_widest_first() -> None:
    found = tornado(answer, A)
    assert [swing.figure for swing in found["both"]] == ["wide", "narrow"]
    assert [swing.figure for swing in found["wide"]] == ["wide"]
    assert [swing.figure for swing in found["inverse"]] == ["narrow"]
    assert found["sure"] == []
    wide = found["wide"][0]
    assert wide.at_low == pytest.approx(10**0.2) and wide.at_high == pytest.approx(10 * 100**0.8)
    assert wide.width == pytest.approx(wide.at_high - wide.at_low)
    inverse = found["inverse"][0]
    assert inverse.at_low > inverse.at_high and inverse.width > 0
    both = found["both"][1]  # the others stay at their points
    assert both == Swing(
        "narrow",
        pytest.approx(10 * 90 * (100 / 90) ** 0.2 + 7),
        pytest.approx(10 * 100 * 1.1**0.8 + 7),
    )


def test_a_tornado_tries_no_figure_that_the_answer_does_not_read() -> None:
    asked: list[Assumptions] = []

    def noted(a: Assumptions) -> Mapping[str, Real]:
        asked.append(a)
        return {"wide": a["wide"]}

    before = set(A.read)
    tornado(noted, A)
    assert len(asked) == 2  # at the points, and at the ends of one figure
    assert A.read <= before | {"wide"}
