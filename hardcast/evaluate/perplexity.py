"""Perplexity of the chip on a text, and how far its predictions are from the float model's.

The text is cut into consecutive windows of `context` tokens, each run from an empty context. Every
token of a window but its first is predicted by the ones before it, and every prediction counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.quantize.float_forward import FloatModel

CONTEXT = 512
BLOCK = 64  # positions whose logits are held in float64 at once: 25 MB at a vocabulary of 49152


class Session(Protocol):
    """The part of an executor's session that is needed here."""

    def forward(self, tokens: Sequence[int], logits: str = "last") -> np.ndarray: ...


class Executor(Protocol):
    """Golden, engine, or any other executor of an image."""

    image: Image

    def session(self) -> Session: ...


@dataclass(frozen=True)
class Perplexity:
    """What was measured.

    windows, tokens: windows run and predictions counted.
    perplexity: exp of the mean negative log-likelihood, of the chip.
    perplexity_float: the same of the float model; None where it did not run, as the two below.
    kl_mean: mean KL(float || chip) in nats a prediction: what the chip loses, at each position.
    top1_agreement: share of the predictions where both rank the same token first.
    """

    windows: int
    tokens: int
    perplexity: float
    perplexity_float: float | None = None
    kl_mean: float | None = None
    top1_agreement: float | None = None

    @property
    def increase(self) -> float | None:
        """perplexity / perplexity_float - 1: 0.01 is one percent worse than float."""
        if self.perplexity_float is None:
            return None
        return self.perplexity / self.perplexity_float - 1


def measure(
    executor: Executor,
    token_ids: Sequence[int],
    *,
    reference: FloatModel | None = None,
    context: int = CONTEXT,
    windows: int | None = None,
    bos_id: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """Perplexity of an executor over a text.

    Args:
        executor: what runs the image.
        token_ids: the text, without a leading bos.
        reference: the float model to compare with; it runs the same windows.
        context: tokens in a window, bos included.
        windows: at most this many, from the start of the text; None for all.
        bos_id: begins every window, where the tokenizer adds one.
        progress: called with (predictions done, predictions in all).

    Raises:
        HardcastError: context or windows out of range, or a text of fewer than two tokens.
    """
    if not 2 <= context <= executor.image.context:
        raise HardcastError(
            f"context {context} is outside 2..{executor.image.context}, the image's context"
        )
    pieces = cut(token_ids, context, windows, bos_id)
    total = sum(len(piece) - 1 for piece in pieces)
    tally = _Tally()
    for piece in pieces:
        chip = _chip_logits(executor, piece)
        floats = None if reference is None else reference.logit_blocks(piece[:-1], BLOCK)
        for start, logits in zip(range(0, len(piece) - 1, BLOCK), chip, strict=True):
            targets = np.asarray(piece[start + 1 : start + 1 + len(logits)], np.int64)
            tally.add(logits, targets, None if floats is None else next(floats))
            if progress is not None:
                progress(tally.tokens, total)
    return tally.result(len(pieces))


def cut(
    token_ids: Sequence[int], context: int, windows: int | None = None, bos_id: int | None = None
) -> list[list[int]]:
    """Consecutive whole windows of `context` tokens; a rest at the end is left out.

    A text shorter than one window is one window of its own length.

    Raises:
        HardcastError: fewer than two tokens in all, or windows below 1.
    """
    if windows is not None and windows < 1:
        raise HardcastError(f"windows is {windows}, expected at least 1")
    begin = [] if bos_id is None else [bos_id]
    ids = [int(token) for token in token_ids]
    size = context - len(begin)
    count = max(len(ids) // size, 1)
    if windows is not None:
        count = min(count, windows)
    pieces = [begin + ids[i * size : (i + 1) * size] for i in range(count)]
    if len(pieces[0]) < 2:
        raise HardcastError("the text is too short: perplexity needs at least two tokens")
    return pieces


def _chip_logits(executor: Executor, piece: list[int]) -> Iterator[np.ndarray]:
    """Real logits float64[<= BLOCK, vocab_size] of every position of a window but its last."""
    session = executor.session()
    unit = math.ldexp(1.0, -executor.image.points.logits)
    for start in range(0, len(piece) - 1, BLOCK):
        tokens = piece[start : min(start + BLOCK, len(piece) - 1)]
        yield session.forward(tokens, logits="all") * unit


class _Tally:
    """Running sums over predictions."""

    def __init__(self) -> None:
        self.tokens = 0
        self.loss = 0.0
        self.compared = 0
        self.loss_float = 0.0
        self.kl = 0.0
        self.agreed = 0

    def add(self, chip: np.ndarray, targets: np.ndarray, reference: np.ndarray | None) -> None:
        """chip, reference: real logits [n, vocab_size]; targets: int64[n], the next tokens."""
        rows = np.arange(len(targets))
        log_chip = log_softmax(chip)
        self.tokens += len(targets)
        self.loss -= float(log_chip[rows, targets].sum())
        if reference is None:
            return
        log_float = log_softmax(reference)
        self.compared += len(targets)
        self.loss_float -= float(log_float[rows, targets].sum())
        self.agreed += int((chip.argmax(axis=1) == reference.argmax(axis=1)).sum())
        log_chip -= log_float
        log_chip *= np.exp(log_float)
        self.kl -= float(log_chip.sum())

    def result(self, windows: int) -> Perplexity:
        perplexity = _exp(self.loss / self.tokens)
        if not self.compared:
            return Perplexity(windows, self.tokens, perplexity)
        return Perplexity(
            windows,
            self.tokens,
            perplexity,
            _exp(self.loss_float / self.compared),
            self.kl / self.compared,
            self.agreed / self.compared,
        )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural logarithm of softmax along the last axis, float64, stable for any finite logits."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def _exp(mean_loss: float) -> float:
    """exp, infinite where a hopeless model's perplexity exceeds float64."""
    return math.exp(mean_loss) if mean_loss < 700 else math.inf
