"""Likelihoods by the float model: many short texts in one pass, since a pass reads every weight.

A context and its continuations lie in one row of tokens, one after another; only the steps that
look at other positions are told which tokens are one text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from hardcast.evaluate.likelihood import Requests, Score, by_context, log_probabilities
from hardcast.program.step import Attend, Matvec, Rope, Sample, Step
from hardcast.quantize.float_forward import Buffers, FloatModel

TOGETHER = 2048  # tokens of a pass, about: buffers of 40 MB where an MLP is 5000 wide
BLOCK = 64  # positions whose logits are made at once


@dataclass
class _Pack:
    """tokens: of all texts. texts: int64 places of the tokens of each, a context's first.

    terms: (place of the token before, token whose likelihood is asked, place among the pairs).
    """

    tokens: list[int] = field(default_factory=list)
    texts: list[np.ndarray] = field(default_factory=list)
    terms: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, context: tuple[int, ...], continuations: Mapping[tuple[int, ...], int]) -> None:
        """One context; its continuations with their places among the pairs."""
        head = np.arange(len(self.tokens), len(self.tokens) + len(context))
        self.tokens += context
        texts = []
        for continuation, place in continuations.items():
            rest = np.arange(len(self.tokens), len(self.tokens) + len(continuation) - 1)
            self.tokens += continuation[:-1]
            before = [int(head[-1]), *rest.tolist()]
            self.terms += [(b, t, place) for b, t in zip(before, continuation, strict=True)]
            if len(rest):
                texts.append(np.concatenate([head, rest]))
        self.texts += texts or [head]


class PackedModel(FloatModel):
    """A float model that says how likely continuations are."""

    _texts: list[np.ndarray]

    def score(self, requests: Requests, done: Callable[[int], None], *, size: int) -> list[Score]:
        """Scores of (context, continuation) pairs of token ids, in their order.

        By the rules of likelihood.score on a chip whose context is `size`, its ValueError too.
        done: called with how many pairs were finished just now.
        """
        pairs = [(tuple(context), tuple(continuation)) for context, continuation in requests]
        logs: list[list[float]] = [[] for _ in pairs]
        greedy = [True] * len(pairs)
        first: dict[int, int] = {}  # an alike pair that is worked on for it
        pack, finished = _Pack(), 0
        groups = by_context(pairs, size)
        for number, (context, places) in enumerate(groups.items(), 1):
            asked: dict[tuple[int, ...], int] = {}
            for place in places:
                first[place] = asked.setdefault(pairs[place][1], place)
            pack.add(context, asked)
            finished += len(places)
            if len(pack.tokens) >= TOGETHER or number == len(groups):
                for place, log, likeliest in self._terms(pack):
                    logs[place].append(log)
                    greedy[place] = greedy[place] and likeliest
                done(finished)
                pack, finished = _Pack(), 0
        return [Score(math.fsum(logs[first[i]]), greedy[first[i]]) for i in range(len(pairs))]

    def _terms(self, pack: _Pack) -> Iterator[tuple[int, float, bool]]:
        """Of each term: its pair's place, the log-probability, whether no token is likelier."""
        tokens, buffers = np.array(pack.tokens, np.int64), Buffers()
        self._texts = pack.texts
        *before, head = (s for s in self.program.steps if not isinstance(s, Sample))
        assert isinstance(head, Matvec)
        for step in before:
            self._run(step, tokens, buffers)
        weight = self._tensor(head.matrix).T
        for start in range(0, len(pack.terms), BLOCK):
            rows, targets, places = zip(*pack.terms[start : start + BLOCK], strict=True)
            logits = buffers[head.src][list(rows)] @ weight
            found = log_probabilities(logits, 1.0, targets)
            yield from zip(places, found, logits.argmax(axis=1) == targets, strict=True)

    def _run(self, step: Step, tokens: np.ndarray, buffers: Buffers) -> None:
        """Text by text where positions count; what several texts share comes out alike in each."""
        if isinstance(step, Rope):
            reads, writes = [step.buffer], step.buffer
        elif isinstance(step, Attend):
            reads, writes = ["q", "keys", "values"], step.dst
        else:
            super()._run(step, tokens, buffers)
            return
        found = np.empty_like(buffers[reads[0]])
        for text in self._texts:
            part = {name: buffers[name][text] for name in reads}
            super()._run(step, tokens[text], part)
            found[text] = part[writes]
        buffers[writes] = found
