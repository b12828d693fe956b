"""The proven widths hold: no value of any run leaves the bound that was computed before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast import models
from hardcast.checkpoint.config import ModelConfig
from hardcast.errors import HardcastError
from hardcast.golden import Golden, machine, steps
from hardcast.golden.bounds import ACCUMULATOR, FRACTION, Bounds
from hardcast.golden.steps import Normed
from hardcast.image import Image
from hardcast.image.matrix import pack_codes
from hardcast.numerics import fixed
from hardcast.numerics.blocks import Blocks
from hardcast.numerics.points import Points
from hardcast.program import step as kinds
from tests.random_image import (
    Form,
    config,
    draw_matrix,
    model_configs,
    some_forms,
    write_random_image,
)

TOKENS = 24


class Watch:
    """Runs golden and notes, after every step, what it wrote; and every accumulator's extreme."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[tuple[kinds.Step, np.ndarray]] = []
        self.accumulators: list[int] = []
        plain_do, plain_matmul = machine._Pass.do, fixed.matmul_exact

        def do(run: machine._Pass, step: kinds.Step) -> None:
            plain_do(run, step)
            name = getattr(step, "dst", getattr(step, "buffer", None))
            if name is not None:
                value = run.buffers[name]
                if isinstance(value, Normed):
                    value = value.blocks
                ints = value.values if isinstance(value, Blocks) else value
                self.written.append((step, ints))

        def matmul(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
            result = plain_matmul(x, weights)
            self.accumulators.append(int(np.abs(result).max(initial=0)))
            return result

        monkeypatch.setattr(machine._Pass, "do", do)
        monkeypatch.setattr(steps, "matmul_exact", matmul)


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Watch(monkeypatch)


def element_bounds(image: Image) -> list[np.ndarray | None]:
    """What Bounds knows of each step's output, element by element, at FRACTION."""
    bounds = Bounds(image.program, image.points)
    found: list[np.ndarray | None] = []
    for step in image.program.steps:
        matrix = gain = bias = None
        if isinstance(step, kinds.Embed | kinds.Matvec):
            matrix = image.matrix(step.matrix)
        if isinstance(step, kinds.Norm | kinds.HeadNorm):
            gain = image.tensor(step.gain).astype(np.int64)
        if isinstance(step, kinds.Matvec) and step.bias is not None:
            point = image.points.of(step.dst)
            bias = np.abs(image.tensor(step.bias).astype(np.int64)) << (FRACTION - point)
        bounds.step(step, matrix=matrix, gain=gain, bias=bias)
        name = getattr(step, "dst", getattr(step, "buffer", None))
        if name is not None:
            found.append(bounds._now.get(name))
    return found


def points_of(points: Points, step: kinds.Step) -> int:
    """The binary point of what a step wrote."""
    if isinstance(step, kinds.Rope):
        return points.rope
    if isinstance(step, kinds.HeadNorm):
        return points.of(step.buffer)
    return points.of(step.dst)  # type: ignore[union-attr]


def check_run(image: Image, watch: Watch, tokens: list[int]) -> None:
    watch.written.clear()
    watch.accumulators.clear()
    Golden(image).session().forward(tokens, "all")
    widths = image.chip["widths"]
    bounds = element_bounds(image)
    assert len(bounds) == len(watch.written)
    for (step, ints), bound in zip(watch.written, bounds, strict=True):
        name = getattr(step, "dst", None) or step.buffer  # type: ignore[union-attr]
        half = 1 << (widths[name] - 1)
        assert ints.min() >= -half and ints.max() < half, step
        if bound is not None and widths[name] <= 32:
            # Codes of h, a and f stand for rounded values: the width must hold them, but the bound
            # of one element speaks of its value before the block was quantised.
            if isinstance(step, kinds.Attend | kinds.GateMul | kinds.Quantize):
                continue
            most = np.abs(ints).max(axis=0).astype(object) << FRACTION
            wrong = most > (bound << points_of(image.points, step))
            assert not wrong.any(), (step, int(np.argmax(wrong)))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    model=model_configs(),
    forms=some_forms(),
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(8, 15),
    skew=st.sampled_from([0, 2, 14]),
    gain=st.sampled_from([1e-3, 0.1, 1.5, 30.0]),
)
def test_no_buffer_exceeds_its_proven_width(
    watch: Watch,
    tmp_path_factory: pytest.TempPathFactory,
    model: ModelConfig,
    forms: tuple[Form, ...],
    seed: int,
    bits: int,
    skew: int,
    gain: float,
) -> None:
    image = write_random_image(
        tmp_path_factory.getbasetemp() / "bounds.image",
        model,
        seed=seed,
        forms=forms,
        activation_bits=bits,
        context=64,
        gain=gain,
        skew=skew,
    )
    tokens = np.random.default_rng(seed).integers(0, model.vocab_size, TOKENS).tolist()
    check_run(image, watch, tokens)


def test_accumulators_stay_within_their_widths(watch: Watch, tmp_path: Path) -> None:
    image = write_random_image(tmp_path / "i", config(sliding_window=1), skew=6, context=64)
    watch.accumulators.clear()
    Golden(image).session().forward(list(range(40)), "all")
    widths = image.chip["widths"]
    matvecs = [s for s in image.program.steps if isinstance(s, kinds.Matvec)]
    # Attention multiplies too (scores, then values, head by head); the rest are the MATVECs.
    heads = 2 * image.program.shape.num_attention_heads
    position = 0
    for step in image.program.steps:
        if isinstance(step, kinds.Attend):
            position += heads
        if isinstance(step, kinds.Matvec):
            largest = watch.accumulators[position]
            assert 0 < largest < 1 << (widths[f"{ACCUMULATOR}.{step.matrix}"] - 1)
            position += 1
    assert position == len(watch.accumulators) == len(matvecs) + 2 * heads


def test_bounds_are_not_idle(watch: Watch, tmp_path: Path) -> None:
    """A bound that is far too large would pass every test above; these are within a few bits."""
    image = write_random_image(tmp_path / "i", config(), context=64)
    watch.written.clear()
    Golden(image).session().forward(list(range(60)), "all")
    seen: dict[str, int] = {}
    for step, ints in watch.written:
        name = getattr(step, "dst", None) or step.buffer  # type: ignore[union-attr]
        seen[name] = max(seen.get(name, 0), int(np.abs(ints).max()).bit_length() + 1)
    spare = {name: image.chip["widths"][name] - bits for name, bits in seen.items()}
    # Random matrices come nowhere near the worst sum of |weights| in down_proj, so y, x and h.
    residual = ("x", "y", "h")
    assert max(room for name, room in spare.items() if name not in residual) <= 4
    assert max(spare.values()) <= 12 and min(spare.values()) >= 0


def test_rows_too_large_for_an_accumulator_are_refused(tmp_path: Path) -> None:
    model = config(hidden_size=2048, num_hidden_layers=1, vocab_size=40)
    wide = Form(offsets=False, codebook=(127,) * 16)
    with pytest.raises(HardcastError, match="q_proj: rows add up to 26 bits, at most 25"):
        write_random_image(tmp_path / "i", model, forms=(wide,))
    assert not (tmp_path / "i").exists()


def test_weights_that_no_shift_could_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HardcastError, match="weights so large that . would need [0-9]+ bits"):
        write_random_image(tmp_path / "i", config(), gain=2.0**22)
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("size", [1, 2, 3, 20, 1000])
@pytest.mark.parametrize("hidden_size", [32, 64, 96])
def test_a_row_along_its_input_stays_within_cauchy_schwarz(hidden_size: int, size: int) -> None:
    """The worst case itself: w parallel to x g, and gains at which NORM rounds upwards.

    The plain |w g| is exceeded here, so the terms for rounding are needed.
    """
    points, model = Points(), config(hidden_size=hidden_size, num_hidden_layers=1)
    program = models.build_program(model)
    rng = np.random.default_rng(size)
    exceeded = 0
    for share in rng.random(60):
        signs = rng.choice([-1, 1], hidden_size)
        gain = np.full(hidden_size, round((0.2 + share) * hidden_size**0.5 * 4096), np.int64)
        shape = program.matrices()["layers.0.q_proj"]
        drawn = draw_matrix(
            rng, "layers.0.q_proj", shape, Form(offsets=False, codebook=tuple(range(-8, 8)))
        )
        along = pack_codes(np.tile(np.where(signs > 0, 15, 1), (1, shape[0], 1)), 4)
        matrix = dataclasses.replace(
            drawn, codes=along.astype(np.uint8), scales=np.full_like(drawn.scales, 255)
        )
        bounds = Bounds(program, points)
        bounds._put("x", np.full(hidden_size, size << FRACTION, object))
        bounds.step(kinds.Norm("gain"), gain=gain)
        bounds.step(kinds.Matvec(matrix.name, "h", "q"), matrix=matrix)
        normed = steps.norm((size * signs)[None], gain, 0, points, 8)
        weights = steps.Weights(
            matrix.integers(),
            matrix.row_multiplier.astype(np.int64),
            matrix.row_shift.astype(np.int64),
            matrix.sum_bits(),
        )
        q = steps.matvec(weights, normed, points.norm_extra, points.qk, None)
        most = np.abs(q[0]).astype(object) << FRACTION
        assert not (most > (bounds._now["q"] << points.qk)).any()
        unit = matrix.row_multiplier / 2.0 ** matrix.row_shift.astype(float)
        plain = 7 * 255 * hidden_size**0.5 * gain[0] / 4096 * unit
        exceeded += bool((q[0] / 2.0**points.qk > plain * 1.02).any())
    assert exceeded or size > 3
