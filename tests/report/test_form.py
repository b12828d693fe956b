"""Numbers as the datasheet prints them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.report.form import NEVER, large, number, percent, plain, spread, unit
from hardcast.technology.uncertainty import Band


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0, "0"),
        (0.04087, "0.0409"),
        (0.789, "0.789"),
        (74.888, "74.9"),
        (856.3, "856"),
        (999.7, "1,000"),
        (16102, "16,100"),
        (1341456, "1,341,000"),
        (7.9e-5, "0.0000790"),
        (1.234e-9, "1.23 × 10^-9"),
        (-0.25, "-0.250"),
        (math.inf, NEVER),
    ],
)
def test_a_number_has_the_digits_that_it_is_worth(value: float, printed: str) -> None:
    assert number(value) == printed


@given(st.floats(1e-6, 1e9))
def test_what_is_printed_is_within_half_a_percent(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


@given(st.floats(1e-3, 1e14), st.floats(0, 1), st.floats(1, 100))
def test_a_band_keeps_its_order_and_its_scale(point: float, below: float, above: float) -> None:
    made = spread(Band(point * below, point, point * above, point), "USD")
    low, middle, high = (float(t.replace(",", "")) for t in (made.low, made.point, made.high))
    assert low <= middle <= high
    word = made.unit.removesuffix("USD").strip()
    factor = {"": 1, "million": 1e6, "billion": 1e9, "trillion": 1e12}[word]
    assert middle * factor == pytest.approx(point, rel=0.0051)


def test_words_for_large_numbers() -> None:
    assert large(34_525_000) == "34.5 million"
    assert large(8e9, exact=True) == "8 billion"
    assert large(256, exact=True) == "256"
    assert large(999) == "999"


def test_units_and_shares() -> None:
    assert unit("um2") == "µm²"
    assert unit("fJ/bit") == "fJ/bit"
    assert unit("1") == ""
    assert percent(0.0226) == "2.3 %"
    assert plain(2_640_000) == "2,640,000"
    assert plain(0.095) == "0.095"
