"""A chip's values beside its source's on the same questions, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hardcast.evaluate.paired import compare, pair
from hardcast.evaluate.significance import ALPHA, mcnemar


def test_right_and_wrong_answers_by_hand() -> None:
    """Eight lost, one gained, of twelve: p = 2 (1 + 9) / 2^9."""
    found = pair([0.0] * 8 + [1.0] * 4, [1.0] * 8 + [0.0, 1.0, 1.0, 1.0])
    assert (found.questions, found.lost, found.gained) == (12, 8, 1)
    assert (found.chip, found.source) == (4 / 12, 11 / 12)
    assert found.chip_stderr == pytest.approx(math.sqrt(1 / 3 * 2 / 3 / 11))
    assert found.difference == pytest.approx(-7 / 12)
    assert found.p == pytest.approx(20 / 512) and found.differs
    assert found.difference_stderr == pytest.approx(
        math.sqrt((8 * (5 / 12) ** 2 + (19 / 12) ** 2 + 3 * (7 / 12) ** 2) / 11 / 12)
    )
    assert found.low is not None and found.high is not None and found.high < 0
    assert found.p_holm is None


def test_equal_answers_are_no_certainty() -> None:
    found = pair([1.0, 0.0] * 50, [1.0, 0.0] * 50)
    assert (found.p, found.difference_stderr, found.differs) == (1.0, 0.0, False)
    assert found.low is not None and found.low < -0.02
    assert found.detectable is not None and found.detectable > 0.05


def test_other_values_by_student() -> None:
    """Differences -1, -2, -3, -2, -2: mean -2, error sqrt(0.1), t -6.32 of 4 degrees."""
    found = pair([1.0, 1.0, 1.0, 2.5, 3.5], [2.0, 3.0, 4.0, 4.5, 5.5])
    assert found.difference == -2.0
    assert found.difference_stderr == pytest.approx(math.sqrt(0.1))
    assert found.p == pytest.approx(0.0032, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((-2.878, -1.122), abs=1e-3)
    assert (found.lost, found.gained) == (None, None)
    # (2.776 + 0.941) standard errors: the tables' t for 5 % on both sides and 20 % on one.
    assert found.detectable == pytest.approx(3.717 * math.sqrt(0.1), abs=1e-3)


@pytest.mark.parametrize("chip", [[2.5], [0.25, 0.25], [3.5, 4.5]])
def test_what_cannot_be_known_is_none(chip: list[float]) -> None:
    """One question, equal values, one difference throughout: no error to measure with."""
    found = pair(chip, [2.5, 3.5][: len(chip)] if chip != [0.25, 0.25] else chip)
    assert (found.low, found.high, found.p, found.detectable) == (None,) * 4
    assert not found.differs


def test_margins_without_a_difference_are_rarely_found_to_differ() -> None:
    """2,000 seeded samples of 25 skewed differences: Student's error rate, near 5 %."""
    draw = np.random.default_rng(3)
    samples = draw.gamma(2.0, size=(2000, 25)) - draw.gamma(2.0, size=(2000, 25))
    found = np.mean([pair(row, [0.0] * 25).differs for row in samples.tolist()])
    assert 0.03 < found < 0.065


def test_tasks_are_corrected_and_put_together() -> None:
    right, wrong = [1.0] * 8, [0.0] * 8
    chip = {"a": {"acc": wrong, "more": [2.0]}, "b": {"acc": right}, "only": {"acc": right}}
    source = {"a": {"acc": right, "more": [3.0]}, "b": {"acc": right}, "group": {}}
    tasks, together = compare(chip, source)
    assert list(tasks) == ["a", "b"] and list(together) == ["acc", "more"]
    p = mcnemar(8, 0)
    assert tasks["a"]["acc"].p == p and tasks["a"]["acc"].p_holm == 2 * p < ALPHA
    assert tasks["b"]["acc"].p_holm == 1.0
    assert tasks["a"]["more"].p_holm is None
    assert (together["acc"].questions, together["acc"].lost, together["acc"].p) == (16, 8, p)
    assert compare({"x": {}}, {"x": {}}) == ({}, {})
