"""Balanced keys and queries: the same model bit for bit, and a block that nothing drowns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast import flow, models
from hardcast.checkpoint import open_checkpoint
from hardcast.checkpoint.base import Grid
from hardcast.engine import Engine
from hardcast.image import open_image
from hardcast.quantize import balance
from hardcast.quantize.balance import Balanced
from hardcast.quantize.float_forward import FloatModel
from hardcast.quantize.folding import Plain, Rotated
from hardcast.quantize.grid import offset_grid, signed_grid
from tests import tiny

EIGHT_BITS = 'rounding = "nearest"\n[default]\nkind = "symmetric"\nbits = 4\nplanes = 2\n'
TOKENS = np.array([5, 900, 3, 77, 500, 12, 12, 1008, 64, 31, 7])
RANGES = st.floats(0, 2.0**100, width=32)
LOUD = 128.0  # Qwen 2.5's key biases reach 145


def loud_keys(path: Path, architecture: str, **overrides: Any) -> Path:
    """A tiny model in whose keys one pair of channels is far above the others, where its
    queries are as far below: what real models learn, and what leaves scores as they were.
    """
    found = tiny.tensors(architecture, **overrides)
    carried = "_norm.weight" if architecture in ("gemma3", "olmo2", "qwen3") else "_proj.weight"
    for name, tensor in found.items():
        part = name.rpartition("self_attn.")[2]
        if part in (f"k{carried}", f"q{carried}", "q_proj.bias"):
            tensor[5::12] *= LOUD if part.startswith("k") else 1 / LOUD
        elif part == "k_proj.bias":
            tensor[5::12] = LOUD
    weights: dict[str, np.ndarray | None] = {**tiny.stored(architecture, found)}
    return tiny.write_safetensors(path, architecture, weights=weights, **overrides)


def sources(path: Path) -> tuple[Plain, Balanced, Any]:
    checkpoint = open_checkpoint(str(path))
    plain = Plain(checkpoint, models.build_program(checkpoint.config))
    return plain, Balanced(plain, balance.exponents(plain)), checkpoint.config


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("overrides", [{}, {"num_key_value_heads": 1}, {"num_key_value_heads": 4}])
def test_no_score_changes(architecture: str, overrides: dict[str, Any], tmp_path: Path) -> None:
    """Powers of two are exact in float: every logit is the same number."""
    plain, balanced, config = sources(loud_keys(tmp_path / "m", architecture, **overrides))
    assert any(np.any(e) for e in balance.exponents(plain).values())
    logits = FloatModel(plain.program, config, plain.tensor).logits(TOKENS)
    assert np.array_equal(FloatModel(plain.program, config, balanced.tensor).logits(TOKENS), logits)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_rows_come_as_the_whole(architecture: str, tmp_path: Path) -> None:
    plain, balanced, _ = sources(loud_keys(tmp_path / "m", architecture))
    for name, exponents in balance.exponents(plain).items():
        whole = balanced.tensor(name)
        assert exponents.shape == whole.shape[:1]
        if whole.ndim == 2:
            rows = slice(3, 29)
            assert np.array_equal(balanced.tensor(name, rows), whole[rows])
        assert np.array_equal(whole.T, np.ldexp(plain.tensor(name).T, exponents))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_pairs_meet(architecture: str, tmp_path: Path) -> None:
    """k and q of a pair are within a factor of two of each other in range, wherever 2^MOST is
    enough."""
    plain, balanced, _ = sources(loud_keys(tmp_path / "m", architecture))
    before, after = balance.exponents(plain), balance.exponents(balanced)
    assert set(before) == set(after)
    assert not any(np.any(exponents) for exponents in after.values())


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_loud_channel_drowns_no_other(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chip's logits against the float model's, with the balance and without: weights of 8 bits
    and wide activations, so that keys are nearly all that is lost.
    """
    path = loud_keys(tmp_path / "m", architecture)
    plain, _, config = sources(path)
    exact = FloatModel(plain.program, config, plain.tensor).logits(TOKENS)
    (tmp_path / "8bit.toml").write_text(EIGHT_BITS)

    def loss(name: str) -> float:
        recipe = str(tmp_path / "8bit.toml")
        flow.build(str(path), tmp_path / name, recipe=recipe, activation_bits=14)
        image = open_image(tmp_path / name)
        logits = Engine(image).session().forward(TOKENS.tolist(), logits="all")
        return float(np.square(logits * 2.0**-image.points.logits - exact).mean())

    with_it = loss("with")
    monkeypatch.setattr(balance, "exponents", lambda source: {})
    assert with_it < loss("without") / 10


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(-balance.MOST, balance.MOST), min_size=5, max_size=5),
    st.sampled_from([4, 8]),
)
def test_a_stored_grid_stays_exact(seed: int, exponents: list[int], bits: int) -> None:
    """Codes, scales and multipliers stay, a row's shift moves by its exponent."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(1e-3, 1e-1, (5, 2)).astype(np.float32)
    moved = np.ldexp(scale, np.array(exponents)[:, None])
    if bits == 4:
        codes, minimum = rng.integers(0, 16, (5, 64)).astype(np.uint8), -scale * 7
        one = offset_grid("a", Grid(4, codes, scale, minimum, 32), 1.0)
        lower = np.ldexp(minimum, np.array(exponents)[:, None])
        other = offset_grid("a", Grid(4, codes, moved, lower, 32), 1.0)
        assert one.offsets is not None and np.array_equal(one.offsets, other.offsets)
    else:
        values = rng.integers(-127, 128, (5, 64)).astype(np.int8)
        one, other = (signed_grid("a", Grid(8, values, s, None, 32), 1.0) for s in (scale, moved))
    assert np.array_equal(one.codes, other.codes) and np.array_equal(one.scales, other.scales)
    assert np.array_equal(one.row_multiplier, other.row_multiplier)
    assert np.array_equal(other.row_shift, one.row_shift - np.array(exponents))


def test_a_rotated_model_is_balanced_too(tmp_path: Path) -> None:
    plain, _, config = sources(loud_keys(tmp_path / "m", "qwen2"))
    rotated = Rotated(plain.checkpoint, plain.program)
    both = Balanced(rotated, balance.exponents(plain))
    model = FloatModel(both.program, config, rotated.tensor).logits(TOKENS)
    assert np.array_equal(FloatModel(both.program, config, both.tensor).logits(TOKENS), model)


@given(st.lists(st.tuples(RANGES, RANGES), min_size=1, max_size=20))
def test_exponents_are_the_rounded_logarithm(ranges: list[tuple[float, float]]) -> None:
    k, q = np.array(ranges).T
    found = balance._exponent(k, q)
    for exponent, a, b in zip(found, k, q, strict=True):
        if not (a and b):
            continue
        # 2^(2e - 1) <= a / b < 2^(2e + 1), but for the bound
        assert exponent == balance.MOST or a / b < 2.0 ** (2 * int(exponent) + 1)
        assert exponent == -balance.MOST or a / b >= 2.0 ** (2 * int(exponent) - 1)
    assert np.array_equal(balance._exponent(np.zeros(2), np.ones(2)), [0, 0])
    assert np.array_equal(balance._exponent(np.ones(2), np.array([0, np.inf])), [0, 0])
