"""`eval --steps`: what the rounding of each buffer costs by itself, as figures and as a table."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import Any

import numpy as np

from hardcast import models
from hardcast.checkpoint import Checkpoint
from hardcast.console import Bars, table
from hardcast.errors import HardcastError
from hardcast.evaluate.steps import StepLoss, measure_steps
from hardcast.image import Image
from hardcast.quantize import recipe as recipes
from hardcast.quantize.balance import chip_basis

TOKENS = 256
WORST = 8  # single roundings that are shown to people


def step_losses(
    image: Image, checkpoint: Checkpoint, token_ids: np.ndarray, cache: bool, progress: Bars
) -> list[StepLoss]:
    """Of every rounding of activations in the image's program, over int64[T] tokens.

    Raises HardcastError where the image's recipe is a file of the user's own that rotates: which
    basis it has is not known then.
    """
    recipe, bits = image.chip["recipe"]["name"], image.chip["recipe"]["activation_bits"]
    rotate = recipe in recipes.names() and recipes.get(recipe).rotate
    heads = [s.activation_bits for s in image.program.steps if hasattr(s, "activation_bits")]
    program = models.build_program(checkpoint.config, bits, heads[-1])
    source = chip_basis(checkpoint, program, rotate)
    if source.program != image.program:
        raise HardcastError(f"{image.path}: recipe {recipe} is none of ours: --steps needs one")
    return measure_steps(
        source,
        checkpoint.config,
        image.points,
        token_ids,
        cache,
        lambda done, total: progress("each rounding alone", done, total),
    )


def steps_json(losses: list[StepLoss]) -> list[dict[str, Any]]:
    """With each one's share of the sum."""
    total = sum(loss.kl for loss in losses) or 1.0
    return [{**asdict(loss), "share": loss.kl / total} for loss in losses]


def steps_table(losses: list[StepLoss], tokens: int) -> str:
    """Sums by buffer, and the worst single ones."""
    total = sum(loss.kl for loss in losses) or 1.0
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for loss in losses:
        sums[loss.buffer, loss.reads].append(loss.kl)
    by_buffer = [
        [buffer, reads, f"{sum(kl):.5f}", f"{sum(kl) / total:.1%}"]
        for (buffer, reads), kl in sorted(sums.items(), key=lambda item: -sum(item[1]))
    ]
    worst = [
        [str(w.layer) if w.layer is not None else "", w.buffer, w.reads]
        + [f"{w.kl:.5f}", f"{w.kl / total:.1%}"]
        for w in sorted(losses, key=lambda loss: -loss.kl)[:WORST]
    ]
    return (
        f"KL of each rounding of activations alone, weights exact, {tokens} tokens: summed\n"
        f"{table(['buffer', 'read by', 'KL', 'share'], by_buffer)}\n\nthe worst single ones\n"
        f"{table(['layer', 'buffer', 'read by', 'KL', 'share'], worst)}"
    )
