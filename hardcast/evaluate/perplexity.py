"""Perplexity of the chip on a text, and how far its predictions are from the float model's.

The text is cut into consecutive windows of `context` tokens, each run from an empty context. Every
token of a window but its first is predicted by the ones before it, and every prediction counts.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hardcast.errors import HardcastError
from hardcast.evaluate.lanes import Executor, forward_together
from hardcast.evaluate.likelihood import log_probabilities
from hardcast.quantize.float_forward import FloatModel

CONTEXT = 512
BLOCK = 64  # positions of a window that are run at once
TOGETHER = 4  # windows that are run at once: with BLOCK, 50 MB of logits at a vocabulary of 49152


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
    unit = math.ldexp(1.0, -executor.image.points.logits)
    # Beside a float model one at a time: each window would hold a float head of its own, and the
    # float model takes nearly all of the time.
    together = TOGETHER if reference is None else 1
    for first in range(0, len(pieces), together):
        batch = pieces[first : first + together]
        floats = [_float_logits(reference, piece) for piece in batch]
        for start, rows in _chip_logits(executor, batch):
            for piece, logits, float_blocks in zip(batch, rows, floats, strict=True):
                targets = np.asarray(piece[start + 1 : start + 1 + len(logits)], np.int64)
                tally.add(logits, unit, targets, next(float_blocks))
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


def _chip_logits(
    executor: Executor, pieces: list[list[int]]
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(start, logits int32[<= BLOCK, vocab_size] of each window) for windows of one length.

    Every position but a window's last comes once, from `start` on.
    """
    sessions = [executor.session() for _ in pieces]
    for start in range(0, len(pieces[0]) - 1, BLOCK):
        parts = [piece[start : min(start + BLOCK, len(piece) - 1)] for piece in pieces]
        work = [(session, part, "all") for session, part in zip(sessions, parts, strict=True)]
        yield start, forward_together(executor, work)


def _float_logits(reference: FloatModel | None, piece: list[int]) -> Iterator[np.ndarray | None]:
    """The float model's logits of the same positions, block by block; nothing without one."""
    if reference is None:
        return itertools.repeat(None)
    return reference.logit_blocks(piece[:-1], BLOCK)


class _Tally:
    """What was found, prediction by prediction.

    Losses are kept one by one and added exactly at the end, so that no figure depends on how the
    windows were laid together.
    """

    def __init__(self) -> None:
        self.losses = array("d")
        self.losses_float = array("d")
        self.divergences = array("d")
        self.agreed = 0

    @property
    def tokens(self) -> int:
        return len(self.losses)

    def add(
        self, chip: np.ndarray, unit: float, targets: np.ndarray, reference: np.ndarray | None
    ) -> None:
        """chip: int32[n, vocab_size] in `unit`s; reference: real logits of the same shape.

        targets: int64[n], the next tokens.
        """
        self.losses.extend(-value for value in log_probabilities(chip, unit, targets))
        if reference is None:
            return
        self.losses_float.extend(-value for value in log_probabilities(reference, 1.0, targets))
        self.agreed += int((chip.argmax(axis=1) == reference.argmax(axis=1)).sum())
        for row, row_float in zip(chip, reference, strict=True):
            log_float = log_softmax(row_float)
            difference = log_float - log_softmax(row * unit)
            self.divergences.append(float((difference * np.exp(log_float)).sum()))

    def result(self, windows: int) -> Perplexity:
        perplexity = _exp(math.fsum(self.losses) / self.tokens)
        if not self.losses_float:
            return Perplexity(windows, self.tokens, perplexity)
        return Perplexity(
            windows,
            self.tokens,
            perplexity,
            _exp(math.fsum(self.losses_float) / self.tokens),
            math.fsum(self.divergences) / self.tokens,
            self.agreed / self.tokens,
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
