"""What the host does to the chip's logits before the sampler, and what it reports of them.

Bias, penalties and masks are integers at the image's logit point, so an answer with them is as
exact as one without. Logprobs are float64, for the reader only: nothing is chosen by them.
"""

from __future__ import annotations

import numpy as np

from hardcast.serve.scheduling.request import GenerationRequest

# A token that may not come. At the logit point of 10 this is 2^21 below zero: even at the highest
# temperature, 100, it is 30,000 in log2 units, and the noise of the sampler is at most 40.
NEVER = np.iinfo(np.int32).min
LEAST, MOST = NEVER + 1, np.iinfo(np.int32).max


class Shaper:
    """A request's bias and penalties, with what its answer has so far.

    point: fraction bits of the logits. A penalty is that of OpenAI's API: presence once and
    frequency for each time that the answer (not the prompt) has the token.
    """

    def __init__(self, request: GenerationRequest, point: int) -> None:
        self._bias_ids = np.fromiter(request.logit_bias, np.int64, len(request.logit_bias))
        biases = [round(bias * (1 << point)) for bias in request.logit_bias.values()]
        self._biases = np.array(biases, np.int64)
        self._presence = round(request.presence_penalty * (1 << point))
        self._frequency = round(request.frequency_penalty * (1 << point))
        self._penalised = bool(self._presence or self._frequency)
        self._counts: dict[int, int] = {}

    def push(self, token: int) -> None:
        """Counts a token of the answer."""
        if self._penalised:
            self._counts[token] = self._counts.get(token, 0) + 1

    def shape(self, logits: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        """The logits to choose by: int32[vocab], the same array where nothing was asked for.

        allowed: bool[vocab], or None for all. Sums that int32 does not hold become its ends, short
        of NEVER.
        """
        if self._biases.size or self._counts:
            logits = logits.copy()
            _add(logits, self._bias_ids, self._biases)
            if self._counts:
                ids = np.fromiter(self._counts, np.int64, len(self._counts))
                counts = np.fromiter(self._counts.values(), np.int64, len(self._counts))
                _add(logits, ids, -(self._presence + self._frequency * counts))
        return logits if allowed is None else np.where(allowed, logits, np.int32(NEVER))


def _add(logits: np.ndarray, ids: np.ndarray, values: np.ndarray) -> None:
    logits[ids] = np.clip(logits[ids] + values, LEAST, MOST)


def logprobs(
    logits: np.ndarray, point: int, chosen: int, top: int
) -> tuple[float, tuple[tuple[int, float], ...]]:
    """Natural logarithms of softmax(logits * 2^-point): the chosen token's, and the `top` largest.

    logits: int32[vocab] as the chip gave them. Of equal ones the smaller id comes first.
    """
    x = logits.astype(np.float64) / (1 << point)
    x -= x.max()
    total = np.log(np.exp(x).sum())
    best: tuple[tuple[int, float], ...] = ()
    if top:
        least = np.partition(logits, -min(top, len(logits)))[-min(top, len(logits))]
        ids = np.flatnonzero(logits >= least)
        ids = ids[np.lexsort((ids, -logits[ids].astype(np.int64)))][:top]
        best = tuple((int(i), float(x[i] - total)) for i in ids)
    return float(x[chosen] - total), best
