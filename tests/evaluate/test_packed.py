"""Texts packed into one pass of the float model, against the same texts one by one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from hardcast import models
from hardcast.checkpoint import open_checkpoint
from hardcast.evaluate import packed
from hardcast.evaluate.likelihood import Score
from hardcast.evaluate.packed import PackedModel
from hardcast.evaluate.perplexity import log_softmax
from hardcast.quantize.float_forward import FloatModel
from tests import tiny

SIZE = 48
WINDOWED = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0}


def float_models(folder: Path, architecture: str, **more: object) -> tuple[FloatModel, PackedModel]:
    tiny.write_safetensors(folder, architecture, **more)
    checkpoint = open_checkpoint(folder)
    program = models.build_program(checkpoint.config)

    def tensor(name: str) -> np.ndarray:
        return checkpoint.tensor(models.checkpoint_name(name))

    return (
        FloatModel(program, checkpoint.config, tensor, cache=True),
        PackedModel(program, checkpoint.config, tensor, cache=True),
    )


def alone(model: FloatModel, context: list[int], continuation: list[int]) -> Score:
    whole = [*context, *continuation][-(SIZE + 1) :]
    logits = model.logits(whole[:-1])[-len(continuation) :]
    terms = log_softmax(logits)[np.arange(len(continuation)), continuation]
    return Score(math.fsum(terms), logits.argmax(axis=1).tolist() == continuation)


def pairs(model: FloatModel) -> list[tuple[list[int], list[int]]]:
    """Choices of one token alone, of several, both, likeliest ones, equal ones, cut ones."""
    draw = np.random.default_rng(4)

    def tokens(count: int) -> list[int]:
        return draw.integers(0, 1009, count).tolist()

    found = []
    for length in (1, 2, 9, 20):
        context = tokens(length)
        likeliest = int(model.logits(context)[-1].argmax())
        found += [(context, choice) for choice in (tokens(1), [likeliest], tokens(3), tokens(11))]
    short = tokens(6)
    found += [(short, [7]), (short, [8]), (tokens(60), tokens(4)), (tokens(1), tokens(SIZE))]
    return [*found, found[0], found[6]]


@pytest.mark.parametrize("together", [1, 50, 4096])
@pytest.mark.parametrize(
    ("architecture", "more"), [*((name, {}) for name in tiny.ARCHITECTURES), ("qwen2", WINDOWED)]
)
def test_packed_texts_do_not_see_each_other(
    architecture: str,
    more: dict[str, object],
    together: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many share a pass; a text that saw another would be far off."""
    monkeypatch.setattr(packed, "TOGETHER", together)
    model, both = float_models(tmp_path, architecture, **more)
    asked = pairs(model)
    seen: list[int] = []
    found = both.score(asked, seen.append, size=SIZE)
    expected = [alone(model, *one) for one in asked]
    assert [one.greedy for one in found] == [one.greedy for one in expected]
    assert {one.greedy for one in expected} == {True, False}
    np.testing.assert_allclose(
        [one.log_probability for one in found],
        [one.log_probability for one in expected],
        rtol=1e-4,
        atol=1e-4,
    )
    assert sum(seen) == len(asked)


def test_what_no_chip_could_be_asked_is_refused(tmp_path: Path) -> None:
    _, model = float_models(tmp_path, "llama")
    for context, continuation in ([[], [1]], [[1], []], [[1], [2] * (SIZE + 1)]):
        with pytest.raises(ValueError, match="pair 0"):
            model.score([(context, continuation)], lambda count: None, size=SIZE)
    assert model.score([], lambda count: None, size=SIZE) == []
