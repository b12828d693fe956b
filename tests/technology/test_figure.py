"""Figures: what the loader refuses, how a band is sampled, how a curve is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions
from hardcast.technology.figure import Figure, load_figures, parse_figure

GOOD = {
    "value": 2.0,
    "low": 1.0,
    "high": 5.0,
    "unit": "um2",
    "kind": "paper",
    "source": "a paper",
}

positive = st.floats(1e-6, 1e6)
bands = st.lists(positive, min_size=3, max_size=3).map(sorted)
signed_bands = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted)
unit = st.floats(0, 1)


@st.composite
def curves(draw: st.DrawFn) -> Figure:
    """A curve of two to six places, each with a band."""
    at = sorted(draw(st.sets(st.integers(1, 1 << 20), min_size=2, max_size=6)))
    band = [draw(bands) for _ in at]
    low, value, high = (tuple(column) for column in zip(*band, strict=True))
    places = tuple(float(place) for place in at)
    return Figure("f", value, low, high, "1", "paper", "s", at=places, over="words")


def figure(low: float, value: float, high: float) -> Figure:
    return Figure("f", (value,), (low,), (high,), "1", "paper", "s")


def test_a_good_figure() -> None:
    found = parse_figure("here", "f", GOOD)
    assert found.value == (2.0,) and found.low == (1.0,) and found.high == (5.0,)
    assert not found.is_certain
    assert found.to_json() == GOOD


def test_without_a_band_it_is_certain() -> None:
    found = parse_figure("here", "f", {k: v for k, v in GOOD.items() if k not in ("low", "high")})
    assert found.is_certain and found.low == found.value == found.high


@pytest.mark.parametrize("key", ["value", "unit", "kind", "source"])
def test_refuses_what_lacks_a_key(key: str) -> None:
    for entry in ({k: v for k, v in GOOD.items() if k != key}, {**GOOD, key: ""}):
        with pytest.raises(HardcastError, match=f"^here has no {key}"):
            parse_figure("here", "f", entry)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"valeu": 1}, "unknown key valeu"),
        ({"kind": "guess"}, "kind 'guess'; there are: measured"),
        ({"low": 3}, "does not lie within"),
        ({"high": 1.5}, "does not lie within"),
        ({"value": "2"}, "value is '2', expected a number"),
        ({"value": True}, "value is True, expected a number"),
        ({"value": float("nan")}, "value is nan, expected a number"),
        ({"high": float("inf")}, "high is inf, expected a number"),
        ({"value": [2, 3]}, "expected 1 values"),
        ({"source": 7}, "source is 7, expected text"),
        ({"note": 7}, "note is 7, expected text"),
        ({"kind": "derived"}, "derived and has no note"),
        ({"at": [1, 2], "over": "words"}, "expected 2 values"),
    ],
)
def test_refuses(change: dict, said: str) -> None:
    with pytest.raises(HardcastError, match="^here") as error:
        parse_figure("here", "f", {**GOOD, **change})
    assert said in str(error.value)


def test_refuses_an_estimate_without_a_band() -> None:
    entry = {"value": 2, "unit": "1", "kind": "estimated", "source": "us"}
    with pytest.raises(HardcastError, match="estimated and has no low and high"):
        parse_figure("here", "f", entry)


def test_refuses_a_bare_number() -> None:
    with pytest.raises(HardcastError, match="bare 3"):
        parse_figure("here", "f", 3)


@pytest.mark.parametrize(
    ("at", "value"), [([1], [2]), ([2, 1], [2, 2]), ([1, 1], [2, 2]), ([0, 1], [2, 2])]
)
def test_refuses_a_curve(at: list[float], value: list[float]) -> None:
    entry = {"at": at, "over": "words", "value": value, "unit": "1", "kind": "paper", "source": "s"}
    with pytest.raises(HardcastError, match="two or more positive, ascending places"):
        parse_figure("here", "f", entry)


def test_refuses_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    with pytest.raises(HardcastError, match="cannot be read as TOML"):
        load_figures(path)
    for text in (b"a = = 1", b"\xff\xfe"):
        path.write_bytes(text)
        with pytest.raises(HardcastError, match="cannot be read as TOML"):
            load_figures(path)
    path.write_text("wafer = 3\n")
    with pytest.raises(HardcastError, match=r"^x\.toml: wafer is a bare 3"):
        load_figures(path)


def test_figures_in_tables_have_dotted_names(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    line = 'value = 1, unit = "1", kind = "claim", source = "s"'
    path.write_text(f'title = "t"\na = {{ {line} }}\n[hbm]\nb = {{ {line} }}\n')
    texts, figures = load_figures(path)
    assert texts == {"title": "t"}
    assert list(figures) == ["a", "hbm.b"] == [found.name for found in figures.values()]


@given(st.one_of(bands, signed_bands))
def test_quantiles_at_the_ends_and_the_middle(band: list[float]) -> None:
    low, value, high = band
    found = figure(low, value, high).quantile(np.array([0.0, 0.5, 1.0]))[0]
    assert found == pytest.approx([low, value, high], rel=1e-9, abs=1e-9)


@given(st.one_of(bands, signed_bands), unit, unit)
def test_quantiles_ascend_within_the_band(band: list[float], a: float, b: float) -> None:
    low, value, high = band
    first, second = figure(low, value, high).quantile(np.array(sorted([a, b])))[0]
    slack = 1e-9 * (abs(low) + abs(high)) + 1e-12
    assert low - slack <= first <= second + slack
    assert second <= high + slack


def test_half_of_the_samples_lie_on_either_side_of_the_point() -> None:
    draws = figure(1, 2, 50).quantile(np.random.default_rng(1).random(20_000))[0]
    assert np.mean(draws < 2) == pytest.approx(0.5, abs=0.02)
    # Evenly on a logarithmic scale: half of the upper half lies below 10 = sqrt(2 * 50).
    assert np.mean(draws < 10) == pytest.approx(0.75, abs=0.02)


@given(curves())
def test_a_curve_goes_through_its_points(curve: Figure) -> None:
    values = np.array(curve.value)
    assert curve.read(values, np.array(curve.at)) == pytest.approx(values, rel=1e-9)


@given(curves(), st.floats(1e-3, 1e9))
def test_a_curve_stays_between_its_neighbours(curve: Figure, x: float) -> None:
    found = float(curve.read(np.array(curve.value), x))
    after = min(max(int(np.searchsorted(curve.at, x)), 1), len(curve.at) - 1)
    ends = sorted(curve.value[after - 1 : after + 1])
    assert ends[0] * (1 - 1e-9) <= found <= ends[1] * (1 + 1e-9)


@given(curves(), st.floats(1.0001, 100))
def test_a_curve_is_flat_beyond_its_ends(curve: Figure, factor: float) -> None:
    values = np.array(curve.value)
    assert float(curve.read(values, curve.at[0] / factor)) == pytest.approx(values[0])
    assert float(curve.read(values, curve.at[-1] * factor)) == pytest.approx(values[-1])


@given(curves(), st.lists(st.floats(1e-3, 1e9), min_size=2, max_size=20))
def test_a_curve_ascends_where_its_values_do(curve: Figure, xs: list[float]) -> None:
    rising = np.sort(np.array(curve.value))
    found = curve.read(rising, np.array(sorted(xs)))
    assert (np.diff(found) >= -1e-9 * found[1:]).all()


@given(curves(), st.lists(st.tuples(unit, st.floats(1, 1e6)), min_size=1, max_size=8))
def test_samples_of_a_curve_are_read_one_by_one(
    curve: Figure, samples: list[tuple[float, float]]
) -> None:
    us, xs = (np.array(column) for column in zip(*samples, strict=True))
    alone = [float(curve.read(curve.quantile(u), x)) for u, x in samples]
    assert curve.read(curve.quantile(us), xs) == pytest.approx(alone, rel=1e-9)
    at_one_place = [float(curve.read(curve.quantile(u), xs[0])) for u in us]
    assert curve.read(curve.quantile(us), float(xs[0])) == pytest.approx(at_one_place, rel=1e-9)
    at_the_point = [float(curve.read(np.array(curve.value), x)) for x in xs]
    assert curve.read(np.array(curve.value), xs) == pytest.approx(at_the_point, rel=1e-9)


def assumptions() -> Assumptions:
    curve = Figure("c", (1, 4), (1, 2), (2, 8), "1", "paper", "s", at=(1, 16), over="rows")
    sure = Figure("sure", (3,), (3,), (3,), "1", "paper", "s")
    wide = dataclasses.replace(figure(1, 2, 8), name="wide")
    return Assumptions({"c": curve, "sure": sure, "wide": wide}, {"title": "t"})


def test_assumptions_are_read_by_name_and_remember_it() -> None:
    found = assumptions()
    assert found["sure"] == 3 and found.at("c", 4) == pytest.approx(2)
    assert found.read == {"sure", "c"}
    with pytest.raises(HardcastError, match="no figure 'wids'; did you mean wide"):
        found["wids"]
    with pytest.raises(HardcastError, match="c is a curve over rows"):
        found["c"]
    with pytest.raises(HardcastError, match="sure is no curve"):
        found.at("sure", 1)


def test_assumptions_at_a_quantile_and_scaled() -> None:
    found = assumptions()
    assert found.at_quantile("wide", 0)["wide"] == pytest.approx(1)
    assert found.at_quantile("wide", 1)["wide"] == pytest.approx(8)
    assert found.at_quantile("c", 1).at("c", 16) == pytest.approx(8)
    assert found.scaled("wide", 3)["wide"] == pytest.approx(6)
    assert found.scaled("wide", 3).at_quantile("wide", 1)["wide"] == pytest.approx(24)
    assert found["wide"] == pytest.approx(2)


def test_samples_depend_on_the_seed_and_the_name_alone() -> None:
    found = assumptions()
    draws = found.sampled(1000, seed=5)
    assert draws["sure"] == 3
    assert np.shape(draws["wide"]) == np.shape(draws.at("c", 4)) == (1000,)
    alone = Assumptions({"wide": found.figures["wide"]}).sampled(1000, seed=5)
    assert np.array_equal(alone["wide"], draws["wide"])
    assert not np.array_equal(found.sampled(1000, seed=6)["wide"], draws["wide"])


def test_joined_assumptions_keep_their_figures_apart() -> None:
    found = assumptions()
    other = Assumptions({"x": figure(1, 1, 1)}, {"name": "n"})
    both = found.joined(other)
    assert both["x"] == 1 and both["sure"] == 3
    assert both.texts == {"title": "t", "name": "n"}
    with pytest.raises(HardcastError, match="two figures are called c"):
        found.joined(found)
