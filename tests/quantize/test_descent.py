"""The native loop of calibrated rounding against NumPy's: the same bits, any code and size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.quantize import descent
from hardcast.quantize.code import Code

CODES = {
    "even": Code("symmetric", 4),
    "two planes": Code("symmetric", 4, planes=2),
    "from 0 on": Code("asymmetric", 4),
    "mirrored": Code("codebook", 3, codebook=(-14, -9, -5, -2, 2, 5, 9, 14)),
    "uneven": Code("codebook", 3, codebook=(-9, -4, -1, 0, 2, 3, 11)),
    "ternary": Code("codebook", 2, codebook=(-1, 0, 1)),
}
every_code = pytest.mark.parametrize("name", CODES)


def drawn(
    seed: int, columns: int, rows: int, trials: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """left, steps and factor, with some weights between two values and some far outside."""
    random = np.random.default_rng(seed)
    steps = random.uniform(0.01, 2, (trials, rows)).astype(np.float32)
    left = random.normal(0, 5, (columns, rows)) * steps[0]
    ties = random.random((columns, rows)) < 0.3
    left[ties] = (np.rint(left / steps[0] * 2) / 2 * steps[0])[ties]
    left[random.random((columns, rows)) < 0.05] *= 1000
    factor = np.triu(random.normal(0, 0.2, (columns, columns)), 1)
    factor += np.diag(random.uniform(0.3, 3, columns))
    return left.astype(np.float32), steps, factor.astype(np.float32)


@every_code
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 150), st.integers(1, 4))
def test_native_gives_numpys_bits(
    name: str, seed: int, columns: int, rows: int, trials: int
) -> None:
    left, steps, factor = drawn(seed, columns, rows, trials)
    before = left.copy()
    with np.errstate(over="ignore"):
        values, errors = descent.descend_numpy(left, steps[0], factor, CODES[name])
        sums = descent.losses_numpy(left, steps, factor, CODES[name])
    found = descent.descend(left, steps[0], factor, CODES[name])
    np.testing.assert_array_equal(found[0], values)
    np.testing.assert_array_equal(found[1], errors)
    np.testing.assert_array_equal(descent.losses(left, steps, factor, CODES[name]), sums)
    np.testing.assert_array_equal(left, before)


@every_code
def test_without_neighbours_it_is_the_nearest_value(name: str) -> None:
    code = CODES[name]
    left, _, _ = drawn(3, 40, 80, 1)
    left[left == 0] = 1  # a codebook without 0 takes the sign of a zero, which a sum may turn
    values, errors = descent.descend(
        left, np.ones(80, np.float32), np.eye(40, dtype=np.float32), code
    )
    np.testing.assert_array_equal(values, code.nearest(left))
    np.testing.assert_array_equal(errors, left - values)


@pytest.mark.parametrize("columns", [3, 5])
def test_a_factor_of_other_columns_is_refused(columns: int) -> None:
    left, steps, _ = drawn(0, 4, 8, 1)
    with pytest.raises(ValueError, match="factor"):
        descent.descend(left, steps[0], np.eye(columns, dtype=np.float32), CODES["even"])
