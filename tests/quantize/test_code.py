"""Codes: the nearest value, the chip's form of it, its price, and what no chip has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hardcast.errors import HardcastError
from hardcast.quantize.code import Code
from tests.quantize.forms import CODES

some_code = st.sampled_from(list(CODES.values()))


@settings(deadline=None)
@given(some_code, arrays(np.float32, 40, elements=st.floats(-300, 300, width=32)))
def test_nearest_is_the_nearest(code: Code, x: np.ndarray) -> None:
    found = code.nearest(x.copy())
    assert found.dtype == np.float32 and np.isin(found, code.values).all()
    distances = np.abs(x.astype(np.float64)[:, None] - code.values)
    np.testing.assert_array_equal(np.abs(found.astype(np.float64) - x), distances.min(axis=1))


@pytest.mark.parametrize("name", CODES)
def test_every_value_is_nearest_to_itself_and_within_int8(name: str) -> None:
    code = CODES[name]
    assert code.values.dtype == np.float32 and (np.diff(code.values) > 0).all()
    assert code.values[0] >= -128 and code.values[-1] <= 127
    np.testing.assert_array_equal(code.nearest(code.values.copy()), code.values)


def test_values_are_those_of_the_kind() -> None:
    assert CODES["symmetric 3"].values.tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]
    assert CODES["symmetric 2x3"].values.tolist() == list(range(-32, 32))
    assert CODES["asymmetric 3"].values.tolist() == list(range(8))
    assert CODES["skew"].values.tolist() == [-7, -3, -1, 0, 2, 4]
    assert [CODES[name].reach for name in ("symmetric 2x3", "skew", "levels")] == [31, 4, 14]


def test_ties() -> None:
    """To the even value where values are evenly spaced, away from 0 in a mirrored codebook."""
    halves = np.array([-3.5, -2.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    assert CODES["symmetric 4"].nearest(halves.copy()).tolist() == [-4, -2, 0, 0, 2, 2]
    middles = np.array([-11.5, -7, -3.5, 3.5, 7, 11.5], np.float32)
    assert CODES["levels"].nearest(middles).tolist() == [-14, -9, -5, 5, 9, 14]


@settings(deadline=None)
@given(
    some_code,
    st.sampled_from([0, 32, 64, 96]),
    st.integers(1, 5),
    st.integers(1, 140),
    st.integers(0, 2**32 - 1),
)
def test_a_matrix_holds_its_values_at_its_price(
    code: Code, group_size: int, rows: int, columns: int, seed: int
) -> None:
    code = replace(code, group_size=group_size)
    rng = np.random.default_rng(seed)
    values = rng.choice(code.values, (rows, columns))
    groups = -(-columns // code.group(columns))
    assert group_size or groups == 1
    offsets = None
    if code.kind == "asymmetric":
        offsets = rng.integers(-999, 999, (rows, groups)).astype(np.int16)
    m = code.matrix(
        "w",
        values,
        rng.integers(1, 256, (rows, groups), dtype=np.uint8),
        offsets,
        rng.integers(128, 256, rows).astype(np.uint8),
        rng.integers(-16, 41, rows).astype(np.int16),
    )
    m.check()
    np.testing.assert_array_equal(m.values(), values)
    assert m.rom_bits == code.rom_bits((rows, columns))
    again = code.matrix(
        "w", values.astype(np.int8), m.scales, offsets, m.row_multiplier, m.row_shift
    )
    np.testing.assert_array_equal(again.codes, m.codes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "log"}, "code 'log' is not known; there are: symmetric, asymmetric, codebook"),
        ({"bits": 1}, "1 planes of 1 bits"),
        ({"bits": 5}, "1 planes of 5 bits: a chip has 1 or 2 of 2 to 4 bits"),
        ({"planes": 0}, "0 planes of 3 bits"),
        ({"planes": 3}, "3 planes of 3 bits"),
        ({"group_size": 16}, "group_size 16 is no multiple of 32"),
        ({"group_size": -32}, "group_size -32"),
        ({"group_size": 100}, "group_size 100"),
        ({"kind": "asymmetric", "planes": 2}, "an asymmetric code has one plane"),
        ({"codebook": (-1, 1)}, "symmetric codes have no codebook"),
        ({"kind": "asymmetric", "codebook": (-1, 1)}, "asymmetric codes have no codebook"),
        ({"kind": "codebook"}, "a codebook of 3 bits has 2 to 8 values"),
        ({"kind": "codebook", "codebook": (-1,)}, "2 to 8 values"),
        ({"kind": "codebook", "codebook": tuple(range(-4, 5))}, "2 to 8 values"),
        ({"kind": "codebook", "planes": 2, "codebook": (-1, 1)}, "a codebook has one plane"),
        ({"kind": "codebook", "codebook": (1, -1)}, "expected ascending integers"),
        ({"kind": "codebook", "codebook": (-1, 0, 0, 1)}, "expected ascending integers"),
        ({"kind": "codebook", "codebook": (-129, 0, 1)}, "in -128..127"),
        ({"kind": "codebook", "codebook": (-1, 0, 128)}, "in -128..127"),
        ({"kind": "codebook", "codebook": (0, 1, 2)}, "on both sides of 0"),
        ({"kind": "codebook", "codebook": (-3, -2, -1)}, "on both sides of 0"),
        ({"kind": "codebook", "codebook": (-3, 0)}, "on both sides of 0"),
    ],
)
def test_what_no_chip_has_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(HardcastError) as caught:
        Code(**{"kind": "symmetric", "bits": 3, **fields})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
