"""Fronts of evaluated points: ways, limits, what is counted, and that order does not matter."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.explore.evaluate import Result, evaluate_all
from hardcast.explore.objectives import DEFAULT, DOWN, UP, Limit, answer, parse_objectives
from tests.explore.small import task


def result(point: int, speed: float, area: float, name: object = None) -> Result:
    figures = {"tokens_s_user": speed, "area_mm2": area}
    return Result(point, "", {"users": point if name is None else name}, figures)  # type: ignore[dict-item]


BOTH = ("tokens_s_user", "area_mm2")
POINTS = [result(0, 10, 5), result(1, 20, 9), result(2, 20, 10), result(3, 5, 4), result(4, 4, 4)]


def test_speed_up_and_area_down() -> None:
    found = answer(POINTS, BOTH)
    assert [r.point for r in found.front] == [1, 0, 3]
    assert (found.points, found.feasible, found.within) == (5, 5, 5)


def test_the_first_objective_sorts() -> None:
    assert [r.point for r in answer(POINTS, BOTH[::-1]).front] == [3, 0, 1]


def test_limits_take_points_away_and_are_counted() -> None:
    limits = [Limit("--max-area-mm2", "area_mm2", DOWN, 5), Limit("--min", "tokens_s_user", UP, 5)]
    found = answer([*POINTS, Result(5, "no such chip", {}, {})], BOTH, limits)
    assert [r.point for r in found.front] == [0, 3]  # both ends are allowed
    assert (found.points, found.feasible, found.within) == (6, 5, 2)
    assert dict(found.reasons) == {
        "over --max-area-mm2 5": 2,
        "no such chip": 1,
        "under --min 5": 1,
    }
    assert next(iter(found.reasons)) == "over --max-area-mm2 5"


def test_a_limit_opens_the_front_for_what_it_hid() -> None:
    assert [r.point for r in answer(POINTS, BOTH[:1]).front] == [1, 2]
    limit = Limit("--max-area-mm2", "area_mm2", DOWN, 4.5)
    assert [r.point for r in answer(POINTS, BOTH[:1], [limit]).front] == [3]


def test_the_same_chip_under_two_numbers_is_one() -> None:
    found = answer([result(7, 1, 1, "same"), result(3, 1, 1, "same"), result(9, 1, 1)], BOTH)
    assert [r.point for r in found.front] == [3, 9]


def test_nothing_feasible_has_no_front() -> None:
    found = answer([Result(0, "why", {}, {})], BOTH)
    assert found.front == () and found.feasible == 0 and dict(found.reasons) == {"why": 1}


@given(st.randoms(use_true_random=False))
def test_the_order_of_results_does_not_matter(dice: random.Random) -> None:
    small = task(users=(1,), columns=(8,))
    results = evaluate_all(small, range(small.space.size))
    expected = answer(results, DEFAULT)
    dice.shuffle(results)
    assert answer(results, DEFAULT) == expected
    assert len(expected.front) > 1


def test_names() -> None:
    assert parse_objectives("area_mm2, tokens_s_user") == ("area_mm2", "tokens_s_user")
    with pytest.raises(HardcastError, match="did you mean area_mm2"):
        parse_objectives("area")
    with pytest.raises(HardcastError, match="no objective ''"):
        parse_objectives("area_mm2,")
    with pytest.raises(HardcastError, match="area_mm2 stands twice"):
        parse_objectives("area_mm2,area_mm2")
