"""The Pareto front: the points that no other beats in one objective without losing in another.

Source: the test by sorting of Kung, Luccio and Preparata, On finding the maxima of a set of
vectors, J. ACM 22 (1975): in an order where nobody is dominated by one behind him, a point need
only be held against those of the front before it.
"""

from __future__ import annotations

import numpy as np


def pareto_front(values: np.ndarray) -> np.ndarray:
    """Which rows no other row dominates, ascending: int64[front].

    values: float64[points, objectives], the smaller the better, no NaN. A row dominates another if
    it is nowhere larger and somewhere smaller; rows that are equal do not dominate each other, so
    all of them are in the front or none.
    """
    points = values.shape[0]
    if points == 0:
        return np.zeros(0, np.int64)
    unique, back = np.unique(values, axis=0, return_inverse=True)  # in lexicographic order
    if unique.shape[1] == 1:
        kept = np.zeros(len(unique), bool)
        kept[0] = True
    elif unique.shape[1] == 2:
        kept = _falling(unique[:, 1])
    else:
        kept = _front(unique)
    return np.flatnonzero(kept[back.reshape(-1)])


def _falling(second: np.ndarray) -> np.ndarray:
    """bool[rows]: which of rows sorted by the first have a smaller second than all before."""
    least = np.minimum.accumulate(second)
    kept = np.ones(len(second), bool)
    kept[1:] = second[1:] < least[:-1]
    return kept


def _front(rows: np.ndarray) -> np.ndarray:
    """bool[rows]: the front of rows that are unique and in lexicographic order.

    A row later in that order never dominates an earlier one: it would be smaller at the first
    place where they differ. So each is held against the front before it, in one array operation.
    """
    front = np.empty_like(rows)
    kept = np.zeros(len(rows), bool)
    size = 0
    for index, row in enumerate(rows):
        if not (front[:size] <= row).all(axis=1).any():
            front[size] = row
            kept[index] = True
            size += 1
    return kept
