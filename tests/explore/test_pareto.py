"""The front against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.explore.pareto import pareto_front

# Few different values, so that ties and duplicates are common.
VALUES = st.sampled_from([-2.0, -0.5, 0.0, 1.0, 3.0])


@st.composite
def tables(draw: st.DrawFn, values: st.SearchStrategy[float] = VALUES) -> np.ndarray:
    columns = draw(st.integers(1, 5))
    row = st.lists(values, min_size=columns, max_size=columns)
    rows = draw(st.lists(row, max_size=40))
    return np.array(rows, np.float64).reshape(len(rows), columns)


def by_definition(values: np.ndarray) -> list[int]:
    def dominated(row: np.ndarray) -> bool:
        return any((other <= row).all() and (other < row).any() for other in values)

    return [index for index, row in enumerate(values) if not dominated(row)]


@given(tables())
def test_the_front_is_what_nobody_dominates(values: np.ndarray) -> None:
    assert pareto_front(values).tolist() == by_definition(values)


@given(tables(st.floats(allow_nan=False)))
def test_also_of_any_numbers(values: np.ndarray) -> None:
    assert pareto_front(values).tolist() == by_definition(values)


@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(values: np.ndarray, random: object) -> None:
    order = np.arange(len(values))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert sorted(order[pareto_front(values[order])]) == pareto_front(values).tolist()


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_many_points(columns: int) -> None:
    values = np.random.default_rng(columns).random((3000, columns)).round(2)
    front = pareto_front(values)
    kept, rest = values[front], np.delete(values, front, axis=0)
    for row in rest:
        assert ((kept <= row).all(axis=1) & (kept < row).any(axis=1)).any()
    for row in kept:
        assert not ((values <= row).all(axis=1) & (values < row).any(axis=1)).any()


def test_equal_points_stay_together() -> None:
    assert pareto_front(np.array([[1.0, 2.0], [3.0, 3.0], [1.0, 2.0]])).tolist() == [0, 2]
