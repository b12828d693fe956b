"""What each rounding of activations costs by itself: where to look when a chip loses its model.

The float model runs as it is but for one step, whose result is rounded to block codes as the chip
rounds it; KL(float || that) in nats a token is what this rounding alone costs. Weights stay exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hardcast.checkpoint.config import ModelConfig
from hardcast.evaluate.perplexity import log_softmax
from hardcast.numerics.points import Points
from hardcast.program.program import Program, reads_writes
from hardcast.program.step import Attend, GateMul, KvWrite, Matvec, Norm, Quantize, Rope, Step
from hardcast.quantize.calibration import Stream
from hardcast.quantize.float_forward import Buffers, FloatModel, Kept
from hardcast.quantize.folding import Source

ROUNDING = (Norm, Quantize, Rope, KvWrite, Attend, GateMul)
BLOCK = 64  # positions whose probabilities are in memory at once


@dataclass(frozen=True)
class StepLoss:
    """layer: None for what comes behind the last. buffer: what is rounded. reads: the matrices
    that read it, or "attention". kl: nats a token, of this rounding alone.
    """

    layer: int | None
    buffer: str
    reads: str
    kl: float


def measure_steps(
    source: Source,
    config: ModelConfig,
    points: Points,
    token_ids: np.ndarray,
    cache: bool,
    progress: Callable[[int, int], None],
) -> list[StepLoss]:
    """Every rounding of a forward pass over int64[T] tokens, in the order of the program.

    source: weights, in the basis that the chip has them in. points: the chip's binary points.
    cache: keep all tensors in memory. Takes a forward pass from its own layer on for each.
    """
    model = _OneRounded(source, config, points, cache)
    exact = model.checkpointed(token_ids)
    steps = [index for index, step in enumerate(source.program.steps) if isinstance(step, ROUNDING)]
    found = []
    for done, index in enumerate(steps):
        progress(done, len(steps))
        kl = _divergence(exact.logits, model.with_rounding(exact, index))
        found.append(StepLoss(*_place(source.program, index), kl))
    progress(len(steps), len(steps))
    return found


class _OneRounded(FloatModel):
    """A float model with one step, by its index, rounded as the chip rounds it."""

    def __init__(self, source: Source, config: ModelConfig, points: Points, cache: bool) -> None:
        super().__init__(source.program, config, source.tensor, cache)
        self._chip = Stream(source, config, points)
        self._next, self._rounded = 0, -1

    def with_rounding(self, kept: Kept, rounded: int) -> np.ndarray:
        """Logits float32[T, vocab_size] of the kept tokens."""
        first = max(index for index in kept.residuals if index <= rounded)
        self._next, self._rounded = first, rounded
        try:
            return self.resume(kept, first, {})
        finally:
            self._rounded = -1

    def _run(self, step: Step, tokens: np.ndarray, buffers: Buffers) -> None:
        here = self._next == self._rounded
        self._next += 1
        if not here:
            super()._run(step, tokens, buffers)
            return
        if isinstance(step, KvWrite):  # of v: k was rounded by ROPE
            part = {"v": buffers["v"]}
            self._chip.run(step, part)
            buffers["keys"], buffers["values"] = buffers["k"], part["v"]
        elif isinstance(step, Attend):
            part = {"q": buffers["q"], "k": buffers["keys"], "v": buffers["values"]}
            self._chip.run(step, part)
            buffers[step.dst] = part[step.dst]
        else:
            self._chip.run(step, buffers)


def _place(program: Program, index: int) -> tuple[int | None, str, str]:
    """Layer, buffer and readers of what the step at `index` rounds."""
    step = program.steps[index]
    before = sum(isinstance(s, Attend) for s in program.steps[:index])
    match step:
        case Rope():
            return before, step.buffer, "attention"
        case KvWrite():
            return step.layer, "v", "attention"
        case Norm() | Quantize() | Attend() | GateMul():
            readers = []
            for later in program.steps[index + 1 :]:
                if isinstance(later, Matvec) and later.src == step.dst:
                    readers.append(later.matrix)
                elif step.dst in reads_writes(later)[1]:
                    break
            names = " ".join(name.rpartition(".")[2] for name in readers)
            of_layer = re.match(r"layers\.(\d+)\.", readers[0])
            return int(of_layer[1]) if of_layer else None, step.dst, names
    raise AssertionError(step)


def _divergence(exact: np.ndarray, rounded: np.ndarray) -> float:
    """Mean KL(exact || rounded) in nats, of logits float32[T, vocab_size]."""
    total = 0.0
    for first in range(0, len(exact), BLOCK):
        p, q = (log_softmax(part[first : first + BLOCK]) for part in (exact, rounded))
        total += float((np.exp(p) * (p - q)).sum())
    return max(total / len(exact), 0.0)
