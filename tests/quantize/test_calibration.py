"""Calibration: the text's windows, the chip's rounding beside the exact model, any thread count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast import flow, models
from hardcast.checkpoint import open_checkpoint
from hardcast.errors import HardcastError
from hardcast.golden import Golden, machine
from hardcast.golden.steps import RSQRT_FRACTION, Normed
from hardcast.image import open_image
from hardcast.image.matrix import Matrix
from hardcast.numerics.blocks import Blocks, quantize_blocks
from hardcast.numerics.points import Points
from hardcast.program.program import reads_writes
from hardcast.program.step import (
    Add,
    Attend,
    Embed,
    GateMul,
    HeadNorm,
    KvWrite,
    Matvec,
    Norm,
    Quantize,
    Rope,
)
from hardcast.quantize import calibration_text
from hardcast.quantize import recipe as recipes
from hardcast.quantize.balance import chip_basis
from hardcast.quantize.calibration import Calibration, chip_blocks, real
from hardcast.quantize.folding import Source
from hardcast.quantize.rounder import Rounder
from tests import tiny
from tests.quantize import forms

# Every in_features is a multiple of 64, the group size of the recipes that calibrate.
SIZES: dict[str, Any] = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 192}


# Blocks


@settings(deadline=None)
@given(
    bits=st.integers(8, 15),
    block=st.sampled_from([24, 64]),
    point=st.integers(-1, 10),
    size=st.integers(0, 30),
    magnitude_bits=st.sampled_from([22, 37]),
    seed=st.integers(0, 2**32 - 1),
)
def test_chip_blocks_are_the_chips(
    bits: int, block: int, point: int, size: int, magnitude_bits: int, seed: int
) -> None:
    """Integers through both: equal, but for ties and blocks whose largest is a power of two."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-(1 << size), (1 << size) + 1, (3, 100))
    x = x >> rng.integers(0, 12, (3, 1))
    x = x.astype(np.float32).astype(np.int64)  # what float32 holds
    blocks = quantize_blocks(x, bits, block, magnitude_bits)
    found = chip_blocks((x / 2.0**point).astype(np.float32), bits, block, point, magnitude_bits)
    assert found.shape == x.shape and found.dtype == np.float32
    unit = 2.0 ** np.repeat(blocks.exponents, block, axis=1)[:, :100]
    off = np.abs(found * 2.0**point - blocks.values) / unit
    largest = np.abs(blocks.codes).max(axis=1, keepdims=True)
    tie = (np.abs(x / unit) % 1 == 0.5) | (largest >= 1 << bits - 1)
    assert (off[~tie] == 0).all()
    assert (off <= 1).all()


def test_blocks_of_zeros() -> None:
    assert not chip_blocks(np.zeros((2, 70), np.float32), 8, 64, 9, 37).any()


# Windows of a text


def test_windows_are_spread_over_the_text() -> None:
    tokens = list(range(100_000))
    found = calibration_text.windows(tokens, 8192, None, "text", most=5120)
    assert found.shape == (10, calibration_text.WINDOW) and found.dtype == np.int64
    assert (np.diff(found, axis=1) == 1).all()  # each is a piece of the text as it stands
    starts = found[:, 0]
    assert starts[0] == 0 and starts[-1] > 85_000
    assert np.ptp(np.diff(starts)) <= calibration_text.WINDOW
    assert np.diff(starts).min() >= calibration_text.WINDOW  # and none overlaps another


@pytest.mark.parametrize("context", [2, 100, 511, 512, 513, 8192])
@pytest.mark.parametrize("bos", [None, 7])
def test_windows_fit_the_context_and_begin_as_the_tokenizer_does(
    context: int, bos: int | None
) -> None:
    tokens = list(range(10, 10 + calibration_text.LEAST_TOKENS))
    found = calibration_text.windows(tokens, context, bos, "text")
    size = min(context, calibration_text.WINDOW)
    assert found.shape[1] == size
    own = found if bos is None else found[:, 1:]
    assert bos is None or (found[:, 0] == bos).all()
    assert len(found) == len(tokens) // own.shape[1]
    assert np.unique(own).size == own.size  # a short text is used once


@pytest.mark.parametrize("count", [0, 1, calibration_text.LEAST_TOKENS - 1])
def test_a_short_text_is_refused_by_name(count: int) -> None:
    with pytest.raises(HardcastError) as caught:
        calibration_text.windows([5] * count, 8192, None, "notes.txt")
    assert str(caught.value).startswith(f"notes.txt: {count} tokens are too short")
    assert "\n" not in str(caught.value)


def test_texts_are_read_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("Grüße\n\r\n\r".encode())
    assert calibration_text.read(path) == "Grüße\n\r\n\r"
    path.write_bytes("\ufeffa\ufeff\n".encode())
    assert calibration_text.read(path) == "a\ufeff\n"
    path.write_bytes(b"ab\xff")
    with pytest.raises(HardcastError, match="text: not UTF-8 .byte 2."):
        calibration_text.read(path)
    for bad in (tmp_path / "none", tmp_path):
        with pytest.raises(HardcastError, match=f"^{bad}: "):
            calibration_text.read(bad)
    assert len(calibration_text.read(None)) > 50_000


# Beside a model


def opened(folder: Path, architecture: str, rotate: bool, **overrides: Any) -> tuple[Source, Any]:
    made = tiny.write_safetensors(folder, architecture, **{**SIZES, **overrides})
    checkpoint = open_checkpoint(str(made))
    program = models.build_program(checkpoint.config)
    return chip_basis(checkpoint, program, rotate), checkpoint.config


def draw_windows(seed: int, count: int = 5, length: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1009, (count, length))


def made_by(source: Source, config: Any, threads: int) -> dict[str, Matrix]:
    """Every matrix of a model, rounded as `3/6` does with `threads`."""
    found = {}
    recipe, points = recipes.get("3/6"), Points()
    with Rounder(
        recipe, source, config, points, draw_windows(0), lambda name: None, threads
    ) as rounder:
        for step in source.program.steps:
            matrix = None
            if isinstance(step, Embed | Matvec):
                matrix = rounder.matrix(step, 0.5)
                found[step.matrix] = matrix
            rounder.run(step, matrix, 0.5)
    return found


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_the_number_of_threads_changes_nothing(architecture: str, tmp_path: Path) -> None:
    tied = architecture == "llama"
    source, config = opened(tmp_path, architecture, True, tie_word_embeddings=tied)
    one = made_by(source, config, 1)
    assert set(one) == set(source.program.matrices())
    for threads in (2, 3):
        other = made_by(source, config, threads)
        assert all(forms.same(one[name], other[name]) for name in one)


def test_rounding_knows_of_the_text(tmp_path: Path) -> None:
    """Each matrix does better on the inputs it was rounded for than rounded to nearest."""
    source, config = opened(tmp_path, "llama", True)
    recipe, windows, points = recipes.get("3/6"), draw_windows(0, 10, 100), Points()
    plain = Rounder(recipe, source, config, points, None, lambda name: None, 1)
    ratios = []
    with Calibration(source, config, windows, points, 2) as calibration, plain:
        for step in source.program.steps:
            matrix = None
            if isinstance(step, Embed):
                matrix = plain.matrix(step, 1.0)
            elif isinstance(step, Matvec) and step.dst != "logits":
                matrix = calibration.matrix(step, recipe.code(step.matrix), 1.0)
                chip, exact = (s.buffers[step.src] for s in (calibration._chip, calibration._exact))
                wanted = exact @ source.tensor(step.matrix).T
                losses = [
                    np.square(wanted - chip @ real(made).T).mean()
                    for made in (matrix, plain.matrix(step, 1.0))
                ]
                assert losses[0] < 0.95 * losses[1], step.matrix
                ratios.append(losses[0] / losses[1])
            if isinstance(step, Embed | Matvec) and matrix is None:
                break
            calibration.run(step, matrix)
    assert len(ratios) == 15 and np.mean(ratios) < 0.87


CASES = {
    "llama rotated": ("llama", "3/6", {}),
    "llama": ("llama", "4bit", {"sliding_window": 9, "model_type": "mistral"}),
    "qwen2": ("qwen2", "3bit", {"tie_word_embeddings": False}),
    "qwen3": ("qwen3", "4/8", {}),
}


def golden_reals(
    run: machine._Pass, name: str, points: Points, turned: bool, factor: float
) -> np.ndarray:
    """float32[T, width]: what golden holds in a buffer, in real numbers.

    turned: q and k are after ROPE. factor: what the image folded into q.
    """
    value = run.buffers[name]
    if isinstance(value, Normed):  # the gain's sqrt(n) goes with 1/sqrt of the sum of squares
        blocks = value.blocks.values / 2.0 ** (points.residual + points.norm_extra)
        root = value.r * 2.0 ** (points.residual - RSQRT_FRACTION - value.halfshift)
        return (blocks * root[:, None]).astype(np.float32)
    point = {"x": "residual", "y": "residual", "h": "residual", "g": "gate", "u": "gate"}
    point |= dict.fromkeys("qk", "rope" if turned else "qk")
    integers = value.values if isinstance(value, Blocks) else value
    real_value = integers / 2.0 ** getattr(points, point.get(name, name))
    return (real_value / (factor if name == "q" else 1)).astype(np.float32)


# Largest relative error (root mean square) of one step whose inputs are golden's. What is left is
# golden's tables (NORM, HEAD_NORM, ATTEND, GATE_MUL), the rounding of int32 results to their
# binary points, and 8-bit codes that either tips over.
TOLERANCE = {
    Embed: 0.003,
    Norm: 0.006,
    Quantize: 0.006,
    HeadNorm: 0.003,
    Matvec: 0.003,
    Rope: 0.02,
    KvWrite: 0.006,
    Attend: 0.01,
    GateMul: 0.012,
    Add: 1e-6,
}


@pytest.mark.parametrize("case", CASES)
def test_calibration_sees_what_the_chip_sees(case: str, tmp_path: Path) -> None:
    """Its chip's buffers against golden's on the image that was built, step by step."""
    architecture, name, overrides = CASES[case]
    model = tiny.write_safetensors(tmp_path / "m", architecture, **{**SIZES, **overrides})
    recipe = recipes.get(name)
    calibrate = None
    if recipe.rounding == recipes.GPTQ:
        calibrate = tmp_path / "text"
        calibrate.write_text(calibration_text.read(None)[:3000])
    flow.build(str(model), tmp_path / "i", recipe=name, calibrate=calibrate)
    image, (source, config) = (
        open_image(tmp_path / "i"),
        opened(tmp_path / "m", architecture, recipe.rotate, **overrides),
    )
    window = draw_windows(1, 1, 30)
    run = machine._Pass(Golden(image).session(), window[0], 30)
    scores = flow.LOG2_E / np.sqrt(config.head_dim)
    normed = any(isinstance(step, HeadNorm) for step in image.program.steps)
    seen = set()
    with Calibration(source, config, window, image.points, 2) as calibration:
        buffers = calibration._chip.buffers
        for step in image.program.steps[:-2]:
            matrix = image.matrix(step.matrix) if isinstance(step, Embed | Matvec) else None
            factor = scores if isinstance(step, Matvec) and step.dst == "q" and not normed else 1.0
            calibration.run(step, matrix, factor)
            run.do(step)
            seen.add(type(step))
            turned = isinstance(step, Rope)
            folded = scores if not normed or isinstance(step, HeadNorm | Rope) else 1.0
            for buffer in reads_writes(step)[1]:
                if buffer == "kv":
                    buffer, values = "v", np.array(run.session._values[step.layer])
                    golden = (values / 2.0**image.points.v).astype(np.float32)
                else:
                    golden = golden_reals(run, buffer, image.points, turned, folded)
                off = np.square(buffers[buffer] - golden).mean() / np.square(golden).mean()
                assert off**0.5 < TOLERANCE[type(step)], step
                buffers[buffer] = golden  # each step is judged by itself
    assert {Norm, Matvec, Rope, KvWrite, Attend, GateMul, Add} <= seen
