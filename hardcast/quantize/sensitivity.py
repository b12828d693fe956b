"""Which matrices deserve a second plane: measured, one matrix at a time, then bought by the bit.

The sensitivity of a matrix is what the model's predictions lose when it alone is rounded to one
plane, calibrated as it will be: KL(exact || rounded) in nats a token, on a part of the calibration
text. The second plane then goes to where it buys the most KL a bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from hardcast.checkpoint.config import ModelConfig
from hardcast.errors import HardcastError
from hardcast.image.matrix import Matrix
from hardcast.program.step import Embed, Matvec, Norm
from hardcast.quantize.calibration import Calibration, real
from hardcast.quantize.float_forward import FloatModel
from hardcast.quantize.folding import Source
from hardcast.quantize.nearest import quantize_matrix
from hardcast.quantize.recipe import Recipe

TOKENS = 256  # of text that each matrix is judged on
STRIDE = 3  # every third window calibrates
CACHED_WEIGHTS = 1 << 29  # a float model up to this many weights (2 GiB) stays in memory
Progress = Callable[[str, int, int | None], None]


def measure(
    source: Source,
    config: ModelConfig,
    recipe: Recipe,
    windows: np.ndarray,
    threads: int,
    progress: Progress,
) -> dict[str, float]:
    """KL in nats a token that each matrix costs when it alone has the recipe's one plane.

    windows: the calibration text, int64[windows, tokens]. Takes one calibration with a part of it,
    then for each matrix a forward pass of TOKENS tokens from its own layer on.
    """
    rounded = _round_alone(source, config, recipe, windows, threads, progress)
    cache = sum(m.out_features * m.in_features for m in rounded.values()) <= CACHED_WEIGHTS
    model = FloatModel(source.program, config, source.tensor, cache=cache)
    exact = model.checkpointed(windows[len(windows) // 2][:TOKENS])
    log_exact = _log_softmax(exact.logits)
    found: dict[str, float] = {}
    for done, (name, first) in enumerate(_readers(source).items()):
        progress("measuring sensitivities", done, len(rounded))
        log_rounded = _log_softmax(model.resume(exact, first, {name: real(rounded[name])}))
        kl = (np.exp(log_exact) * (log_exact - log_rounded)).sum(axis=1, dtype=np.float64)
        found[name] = max(float(kl.mean()), 0.0)
    progress("measuring sensitivities", len(rounded), len(rounded))
    return found


def _round_alone(
    source: Source,
    config: ModelConfig,
    recipe: Recipe,
    windows: np.ndarray,
    threads: int,
    progress: Progress,
) -> dict[str, Matrix]:
    """Every matrix with one plane, calibrated against the exact model's own activations."""
    found: dict[str, Matrix] = {}
    steps, shapes = source.program.steps, source.program.matrices()
    with Calibration(source, config, windows[::STRIDE], None, threads) as calibration:
        for done, step in enumerate(steps):
            progress("rounding each alone", done, len(steps))
            if isinstance(step, Embed):
                name = step.matrix
                found[name] = quantize_matrix(recipe, name, shapes[name], source, 1.0)
            elif isinstance(step, Matvec) and step.matrix not in found:
                code = recipe.code(step.matrix)
                found[step.matrix] = calibration.matrix(step, code, 1.0)
            calibration.run(step)
    progress("rounding each alone", len(steps), len(steps))
    return found


def _readers(source: Source) -> dict[str, int]:
    """The first step that must run again when a matrix changes: the NORM before it, or 0."""
    found: dict[str, int] = {}
    start = 0
    for index, step in enumerate(source.program.steps):
        if isinstance(step, Norm):
            start = index
        elif isinstance(step, Embed | Matvec):
            found.setdefault(step.matrix, start)
    return found


def allocate(
    sensitivity: Mapping[str, float],
    shapes: Mapping[str, tuple[int, int]],
    recipe: Recipe,
    bits: float,
) -> Recipe:
    """The recipe with the second plane where it buys the most, within `bits` a weight.

    bits: of ROM in all, scales and row multipliers included, a weight.
    Raises HardcastError if even one plane everywhere needs more.
    """
    weights = sum(rows * columns for rows, columns in shapes.values())
    narrow = {name: recipe.code(name).rom_bits(shape) for name, shape in shapes.items()}
    wide = {name: recipe.wider(name).rom_bits(shape) for name, shape in shapes.items()}
    left = bits * weights - sum(narrow.values())
    if not left >= 0:  # NaN neither
        least = sum(narrow.values()) / weights
        raise HardcastError(f"--bits {bits:g} is too little: one plane everywhere is {least:.2f}")
    if recipe.wide is None:
        return recipe
    chosen: list[str] = []
    gain = {name: sensitivity[name] / max(wide[name] - narrow[name], 1) for name in shapes}
    for name in sorted(shapes, key=lambda name: -gain[name]):
        cost = wide[name] - narrow[name]
        if 0 < cost <= left:
            chosen.append(name)
            left -= cost
    codes = dict.fromkeys(sorted(chosen), recipe.wide)
    return dataclasses.replace(recipe, matrices={**recipe.matrices, **codes})


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float32)
