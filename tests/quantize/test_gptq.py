"""Calibrated rounding: less error in the output than rounding to nearest, and nothing absurd."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hardcast.quantize.code import Code
from hardcast.quantize.gptq import DAMPING, Hessian, Rounding, hessian
from hardcast.quantize.nearest import round_values
from hardcast.quantize.scales import Scales, find_scales, spread
from tests.quantize.forms import CODES

# 37 columns in groups of 32 have a short last group; 150 are more than a block of columns.
SHAPES = [(5, 37), (24, 150)]
every_code = pytest.mark.parametrize("name", ["levels", "symmetric 2x3", "asymmetric 4", "ternary"])


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def weights(seed: int, *shape: int) -> np.ndarray:
    return normal(seed, *shape).astype(np.float32)


def correlated(seed: int, tokens: int, columns: int) -> np.ndarray:
    """Inputs float64[tokens, columns] as a layer sees them: few directions, loud channels."""
    mixed = normal(seed, tokens, columns // 4) @ normal(seed + 1, columns // 4, columns)
    loud = 2.0 ** np.random.default_rng(seed).integers(-3, 4, columns)
    return (mixed + 0.3 * normal(seed + 2, tokens, columns)) * loud


def back(values: np.ndarray, scales: Scales, code: Code) -> np.ndarray:
    """float64[out, in]: the weights that values under scales stand for."""
    columns = values.shape[1]
    found = values.astype(np.float64) * spread(scales.steps, code, columns)
    return found if scales.minima is None else found + spread(scales.minima, code, columns)


def nearest(w: np.ndarray, importance: np.ndarray | None, code: Code) -> np.ndarray:
    scales = find_scales(w, importance, code)
    return back(round_values(w, scales.steps, scales.minima, code), scales, code)


def calibrated(w: np.ndarray, known: Hessian, code: Code) -> tuple[np.ndarray, Scales]:
    return Rounding.of(known, code).round(w, code)


def loss(difference: np.ndarray, gram: np.ndarray) -> float:
    return float(np.einsum("ri,ij,rj->", difference, gram, difference))


@every_code
@pytest.mark.parametrize("shape", SHAPES)
def test_without_correlations_it_is_rounding_to_nearest(name: str, shape: tuple[int, int]) -> None:
    code, w = replace(CODES[name], group_size=32), weights(0, *shape)
    diagonal = np.random.default_rng(1).random(shape[1]) + 0.1
    known = hessian(np.diag(diagonal), None)
    values, scales = calibrated(w, known, code)
    expected = round_values(w, scales.steps, scales.minima, code)
    np.testing.assert_array_equal(values, expected)
    # The scales that it tried are as good for such an input as those of the search.
    found = np.square(back(values, scales, code) - w) @ diagonal
    plain = np.square(nearest(w, diagonal.astype(np.float32), code) - w) @ diagonal
    assert found.sum() <= plain.sum() * (1.1 if code.planes == 2 else 1.05)


def test_columns_are_rounded_group_by_group_the_loudest_first() -> None:
    loud = np.array([1, 3, 2] + [0] * 29 + [9, 8] + [0] * 30 + [50, 70], np.float64) + 0.5
    order = hessian(np.diag(loud), None).order(32)
    assert sorted(order.tolist()) == list(range(len(loud)))
    assert order[:3].tolist() == [32, 33, 34] and order[32:35].tolist() == [1, 2, 0]
    assert order[-2:].tolist() == [65, 64]  # a short group comes last, however loud


@every_code
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_it_loses_less_than_rounding_to_nearest(
    name: str, shape: tuple[int, int], seed: int
) -> None:
    code, w = replace(CODES[name], group_size=32), weights(seed, *shape)
    x = correlated(seed + 10, 4 * shape[1], shape[1])
    gram = x.T @ x
    values, scales = calibrated(w, hessian(gram, None), code)
    assert values.dtype == np.float32 and np.isin(values, code.values).all()
    found = loss(back(values, scales, code) - w, gram)
    plain = loss(nearest(w, None, code) - w, gram)
    weighted = loss(nearest(w, np.diag(gram).astype(np.float32), code) - w, gram)
    assert found < 0.7 * min(plain, weighted)


def test_the_factor_is_the_inverse_hessians() -> None:
    x = correlated(0, 300, 40)
    gram = x.T @ x
    known = hessian(gram, None)
    damped = gram + np.eye(40) * DAMPING * np.diag(gram).mean()
    order = known.order(64)
    u = known.factor(order).astype(np.float64)
    assert (np.tril(u, -1) == 0).all() and (np.diag(u) > 0).all()
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    np.testing.assert_allclose(u.T @ u, inverse, atol=1e-5 * np.abs(inverse).max())


@pytest.mark.filterwarnings("error")
@every_code
@pytest.mark.parametrize("broken", ["dead", "one token", "all dead", "repeated"])
def test_a_text_that_says_little_is_no_harm(name: str, broken: str) -> None:
    code, w = CODES[name], weights(0, 6, 96)
    x = correlated(1, 400, 96)
    if broken == "dead":
        x[:, 5:60] = 0
    elif broken == "one token":
        x = x[:1]
    elif broken == "all dead":
        x[:] = 0
    else:  # singular: every channel twice
        x[:, 48:] = x[:, :48]
    gram, cross = x.T @ x, (0.1 * correlated(2, len(x), 96)).T @ x
    values, scales = calibrated(w, hessian(gram, cross), code)
    assert np.isfinite(values).all() and np.isin(values, code.values).all()
    assert np.isfinite(back(values, scales, code)).all()
    if broken == "all dead":  # nothing is known, so nothing moves: every weight alike
        expected = round_values(w, scales.steps, scales.minima, code)
        np.testing.assert_array_equal(values, expected)


def test_dead_channels_round_to_nearest() -> None:
    code, w = CODES["symmetric 2x3"], weights(0, 6, 96)
    x = correlated(1, 400, 96)
    dead = np.arange(96) % 3 == 0
    x[:, dead] = 0
    values, scales = calibrated(w, hessian(x.T @ x, np.zeros((96, 96))), code)
    expected = round_values(w, scales.steps, scales.minima, code)
    np.testing.assert_array_equal(values[:, dead], expected[:, dead])


@every_code
def test_the_target_is_what_the_exact_input_gives(name: str) -> None:
    """|W X_exact - V X_chip|^2 is smaller than if V were to do W's work on the chip's input."""
    code, w = CODES[name], weights(0, 16, 96)
    kept = moved = 0.0
    for seed in range(4):
        exact = correlated(seed, 400, 96)
        # The chip's input is a little off, in a way that its other channels tell of.
        chip = exact @ (np.eye(96) + 0.03 * normal(seed + 50, 96, 96))
        gram, cross = chip.T @ chip, (exact - chip).T @ chip
        for shift in (False, True):
            known = hessian(gram, cross if shift else None)
            assert (known.cross is not None) == shift
            values, scales = calibrated(w, known, code)
            error = w @ exact.T - back(values, scales, code) @ chip.T
            total = float(np.square(error).sum())
            kept, moved = kept + (not shift) * total, moved + shift * total
    assert moved < 0.9 * kept


def test_no_shift_where_both_inputs_are_the_same() -> None:
    code, w = CODES["levels"], weights(0, 16, 96)
    x = correlated(0, 400, 96)
    gram = x.T @ x
    one, _ = calibrated(w, hessian(gram, np.zeros_like(gram)), code)
    two, _ = calibrated(w, hessian(gram, None), code)
    np.testing.assert_array_equal(one, two)


@every_code
def test_rows_in_pieces_are_the_whole(name: str) -> None:
    code, w = CODES[name], weights(0, 23, 150)
    x = correlated(0, 400, 150)
    known = hessian(x.T @ x, None)
    values, scales = calibrated(w, known, code)
    parts = [calibrated(w[a:b], known, code) for a, b in ((0, 1), (1, 9), (9, 23))]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), values)
    found = np.concatenate([part.scales for _, part in parts])
    np.testing.assert_array_equal(found, scales.scales)
