"""Perplexity: the windows, the arithmetic, and golden against the float model on a tiny image."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hardcast import flow, models
from hardcast.checkpoint import open_checkpoint
from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.evaluate import perplexity
from hardcast.evaluate.perplexity import BLOCK, TOGETHER, cut, log_softmax, measure
from hardcast.golden import Golden
from hardcast.image import open_image
from hardcast.quantize.float_forward import FloatModel
from tests import tiny

TEXT = np.random.default_rng(5).integers(0, 1009, 190).tolist()


def build(folder: Path, activation_bits: int) -> tuple[Golden, FloatModel]:
    """Golden on a tiny image with an exact 4-bit grid, and the float model of the same weights."""
    source = tiny.write_gguf(folder / "tiny.gguf", "llama", quant="Q4_1")
    image = folder / f"{activation_bits}.chip"
    flow.build(str(source), image, activation_bits=activation_bits, recipe="4bit")
    checkpoint = open_checkpoint(str(source))
    reference = FloatModel(
        models.build_program(checkpoint.config),
        checkpoint.config,
        lambda name: checkpoint.tensor(models.checkpoint_name(name)),
        cache=True,
    )
    return Golden(open_image(image)), reference


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Golden, FloatModel]:
    return build(tmp_path_factory.mktemp("perplexity"), 8)


def by_hand(
    golden: Golden, reference: FloatModel, windows: list[list[int]]
) -> tuple[float, float, float, float]:
    """The four figures, a prediction at a time, in Python's own arithmetic."""
    losses, losses_float, divergences, agreements = [], [], [], []
    for window in windows:
        unit = 2.0**-golden.image.points.logits
        chip = golden.session().forward(window, logits="all") * unit
        floats = reference.logits(window)
        for position, target in enumerate(window[1:]):
            p, q = (
                np.exp(row - row.max()) for row in (floats[position].astype(float), chip[position])
            )
            p, q = p / p.sum(), q / q.sum()
            losses.append(-math.log(q[target]))
            losses_float.append(-math.log(p[target]))
            divergences.append(
                math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 1e-300)
            )
            agreements.append(p.argmax() == q.argmax())
    return (
        math.exp(np.mean(losses)),
        math.exp(np.mean(losses_float)),
        float(np.mean(divergences)),
        float(np.mean(agreements)),
    )


@pytest.mark.parametrize(
    ("context", "bos_id", "windows"),
    [
        (BLOCK + 27, None, [TEXT[:91], TEXT[91:182]]),  # blocks do not divide the window
        (BLOCK + 1, None, [TEXT[:65], TEXT[65:130]]),  # exactly one block of predictions
        (40, 1, [[1, *TEXT[i * 39 : i * 39 + 39]] for i in range(4)]),
        (256, None, [TEXT]),  # shorter than one window
    ],
)
def test_figures_are_those_worked_out_by_hand(
    pair: tuple[Golden, FloatModel], context: int, bos_id: int | None, windows: list[list[int]]
) -> None:
    golden, reference = pair
    found = measure(golden, TEXT, reference=reference, context=context, bos_id=bos_id)
    expected = by_hand(golden, reference, windows)
    assert found.windows == len(windows)
    assert found.tokens == sum(len(window) - 1 for window in windows)
    measured = (found.perplexity, found.perplexity_float, found.kl_mean, found.top1_agreement)
    assert measured == pytest.approx(expected, rel=1e-5)  # float32 products differ by shape
    assert found.increase == pytest.approx(expected[0] / expected[1] - 1, abs=1e-5)


def test_wider_activations_come_nearer_to_float(
    pair: tuple[Golden, FloatModel], tmp_path: Path
) -> None:
    divergences = [
        measure(golden, TEXT, reference=reference, context=95).kl_mean
        for golden, reference in (pair, build(tmp_path, 14))
    ]
    assert divergences[0] is not None and divergences[1] is not None
    assert 0 < divergences[1] < divergences[0] < 0.2


def test_without_a_float_model_only_the_chip_is_measured(pair: tuple[Golden, FloatModel]) -> None:
    golden, reference = pair
    alone = measure(golden, TEXT, context=50, windows=2)
    both = measure(golden, TEXT, reference=reference, context=50, windows=2)
    assert alone.perplexity == both.perplexity and alone.tokens == both.tokens == 98
    assert alone.perplexity_float is alone.kl_mean is alone.top1_agreement is alone.increase is None


def test_progress_counts_up_to_the_total(pair: tuple[Golden, FloatModel]) -> None:
    seen: list[tuple[int, int]] = []
    golden, reference = pair

    def note(done: int, total: int) -> None:
        seen.append((done, total))

    measure(golden, TEXT, context=90, reference=reference, progress=note)
    assert seen == [(64, 178), (89, 178), (153, 178), (178, 178)]
    seen.clear()
    measure(golden, TEXT, context=90, progress=note)  # both windows at once
    assert seen == [(128, 178), (178, 178)]


@pytest.mark.parametrize("together", [1, 2, 3])
def test_windows_at_once_change_nothing(
    pair: tuple[Golden, FloatModel], together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal to the last bit, on golden one by one and on the engine in one pass."""
    golden, _ = pair
    expected = measure(golden, TEXT, context=40)
    monkeypatch.setattr(perplexity, "TOGETHER", together)
    assert measure(golden, TEXT, context=40) == expected
    assert measure(Engine(golden.image), TEXT, context=40) == expected


def test_windows_are_consecutive_and_whole() -> None:
    text = list(range(10, 20))
    assert cut(text, 4) == [[10, 11, 12, 13], [14, 15, 16, 17]]
    assert cut(text, 4, windows=1) == [[10, 11, 12, 13]]
    assert cut(text, 4, windows=9) == cut(text, 4)
    assert cut(text, 4, bos_id=1) == [[1, 10, 11, 12], [1, 13, 14, 15], [1, 16, 17, 18]]
    assert cut(text, 10) == [text]
    assert cut(text, 11) == [text]
    assert cut([7], 8, bos_id=1) == [[1, 7]]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ([], {}, "too short"),
        ([3], {}, "too short"),
        ([], {"bos_id": 1}, "too short"),
        (TEXT, {"context": 1}, "context 1 is outside 2..256"),
        (TEXT, {"context": 257}, "context 257 is outside 2..256"),
        (TEXT, {"windows": 0}, "windows is 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    pair: tuple[Golden, FloatModel], text: list[int], options: dict[str, int], expected: str
) -> None:
    with pytest.raises(HardcastError, match=expected):
        measure(pair[0], text, **{"context": 64, **options})  # type: ignore[arg-type]


def test_log_softmax_is_stable_and_normalised() -> None:
    with np.errstate(all="raise", under="ignore"):
        extreme = log_softmax(np.array([[2.0**31, -(2.0**31), 0.0], [1e4, 1e4, 1e4]]))
    assert np.allclose(extreme, [[0, -(2.0**32), -(2.0**31)], [-math.log(3)] * 3])
    logits = np.random.default_rng(0).normal(0, 30, (5, 1000)).astype(np.float32)
    assert log_softmax(logits).dtype == np.float64
    assert np.allclose(np.exp(log_softmax(logits)).sum(axis=1), 1, rtol=1e-12)


def test_memory_does_not_grow_with_the_text(pair: tuple[Golden, FloatModel]) -> None:
    golden, reference = pair

    def peak(windows: int, compared: FloatModel | None) -> int:
        tracemalloc.start()
        measure(golden, TEXT, reference=compared, context=19, windows=windows)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1, reference)
    assert peak(4, reference) < 1.2 * peak(1, reference)
    assert peak(2 * TOGETHER, None) < 1.2 * peak(TOGETHER, None)
