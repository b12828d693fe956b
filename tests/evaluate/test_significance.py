"""The tests of paired answers: exact by enumeration, their power and error rates by simulation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.evaluate.significance import (
    ALPHA,
    POWER,
    detectable,
    holm,
    mcnemar,
    share_interval,
    student_p,
    student_quantile,
)


def tables(questions: int, lost: float, gained: float) -> list[tuple[int, int, float]]:
    """Every (lost, gained) with its probability; lost, gained: shares of questions."""
    same = 1 - lost - gained
    return [
        (
            b,
            c,
            math.comb(questions, b) * math.comb(questions - b, c) * lost**b * gained**c * same**a,
        )
        for b in range(questions + 1)
        for c in range(questions + 1 - b)
        for a in [questions - b - c]
    ]


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sign_test_counted_out(lost: int, gained: int) -> None:
    """The share of all ways for the changes to fall that are as far from half as these."""
    changed = lost + gained
    far = [k for k in range(changed + 1) if abs(2 * k - changed) >= abs(lost - gained)]
    expected = Fraction(sum(math.comb(changed, k) for k in far), 2**changed)
    assert mcnemar(lost, gained) == pytest.approx(float(expected), rel=1e-12)


def test_mcnemar_of_many_changes_is_a_number() -> None:
    assert mcnemar(1000, 3000) < 1e-200
    assert mcnemar(5000, 5000) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.floats(0.0, 0.5))
def test_no_difference_is_found_where_none_is_in_at_most_one_of_twenty(
    questions: int, rate: float
) -> None:
    found = sum(p for b, c, p in tables(questions, rate, rate) if mcnemar(b, c) < ALPHA)
    assert found <= ALPHA


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 40), st.floats(0.0, 0.4), st.floats(0.0, 0.4))
def test_the_interval_covers_the_truth(questions: int, lost: float, gained: float) -> None:
    """In 95 % of samples where changes go both ways, in 92 % where they all go one."""
    covered = 0.0
    for b, c, p in tables(questions, lost, gained):
        low, high = share_interval(b, c, questions)
        covered += p * (low <= gained - lost <= high)
    assert covered >= (0.94 if 0.5 <= lost / (gained or 1) <= 2 and lost > 0.05 else 0.92)


def test_interval_and_test_agree_on_every_table() -> None:
    for questions in range(1, 50):
        for lost in range(questions + 1):
            for gained in range(questions + 1 - lost):
                low, high = share_interval(lost, gained, questions)
                assert -1 <= low <= high <= 1
                assert (low <= 0 <= high) == (mcnemar(lost, gained) >= ALPHA)
                assert share_interval(gained, lost, questions) == pytest.approx((-high, -low))


@pytest.mark.parametrize(("changed", "questions"), [(0, 60), (12, 100), (60, 400), (30, 1000)])
def test_the_detectable_difference_is_found_as_often_as_said(changed: int, questions: int) -> None:
    """20,000 seeded samples of the share of changes that was seen; a tenth less is found less."""
    least = detectable(changed, questions)
    assert least is not None
    draw = np.random.default_rng(5)

    def power(difference: float) -> float:
        rate = max(changed / questions, difference)
        lost, gained = (rate + difference) / 2, (rate - difference) / 2
        samples = draw.multinomial(questions, [lost, gained, 1 - lost - gained], 20_000)
        tested = {tuple(row): mcnemar(*row) < ALPHA for row in samples[:, :2].tolist()}
        return float(np.mean([tested[tuple(row)] for row in samples[:, :2].tolist()]))

    assert power(least) == pytest.approx(POWER, abs=0.012)
    assert power(0.85 * least) < POWER - 0.03


def test_what_no_sample_could_show_has_no_detectable_difference() -> None:
    assert [detectable(0, questions) for questions in range(1, 6)] == [None] * 5
    assert detectable(5, 5) is None
    assert (detectable(0, 6) or 0) > 0.9
    assert (detectable(0, 100) or 0) > (detectable(0, 1000) or 1)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (101, 1.9837)]
)
def test_student_agrees_with_the_printed_table(freedom: int, quantile: float) -> None:
    assert student_quantile(0.05, freedom) == pytest.approx(quantile, abs=6e-5)
    assert student_p(quantile, freedom) == pytest.approx(0.05, abs=1e-5)
    assert student_p(-quantile, freedom) == student_p(quantile, freedom)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 6.0), st.integers(1, 400))
def test_student_is_the_integral_of_its_density(t: float, freedom: int) -> None:
    places = np.linspace(0.0, t, 4001)
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    density = np.exp(scale - (freedom + 1) / 2 * np.log1p(places**2 / freedom))
    inside = 2 * np.trapezoid(density, places) / math.sqrt(freedom * math.pi)
    assert student_p(t, freedom) == pytest.approx(1 - inside, abs=1e-5)


def test_holm_by_hand() -> None:
    """Three tests: 0.01 x 3, then 0.03 x 2, then no less than that."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_of_many_tests_is_rarely_a_false_alarm() -> None:
    """Eight tasks of 60 questions without a difference, a thousand times, seeded."""
    draw = np.random.default_rng(9)
    alarms = 0
    for _ in range(1000):
        samples = draw.multinomial(60, [0.15, 0.15, 0.7], 8)[:, :2].tolist()
        alarms += min(holm([mcnemar(*row) for row in samples])) < ALPHA
    assert alarms <= 1000 * ALPHA
