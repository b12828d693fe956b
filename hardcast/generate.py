"""The token loop over any executor: prefix reuse, sampling, stop strings, streamed text."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.tokenizer import Tokenizer, TokenizerSpec


class Session(Protocol):
    """One context of an executor (golden, engine)."""

    @property
    def length(self) -> int: ...

    def forward(self, tokens: Sequence[int], logits: str = "last") -> np.ndarray: ...

    def truncate(self, length: int) -> None: ...


class Executor(Protocol):
    """Anything that runs an image: the same tokens come out of each."""

    name: str

    def session(self) -> Session: ...

    def sample(self, logits: np.ndarray, settings: SamplerSettings, position: int) -> int: ...


@dataclass(frozen=True)
class Result:
    """What a run made. finish_reason: "stop" (end token or stop string) or "length".

    token_ids: generated, the end token included. Rates are tokens a second; prefill counts only
    the prompt tokens that had to be run (the rest were in the cache), and a rate is 0 where
    there was nothing to time.
    """

    text: str
    token_ids: list[int]
    prompt_tokens: int
    cached_tokens: int
    finish_reason: str
    decode_tokens_s: float
    prefill_tokens_s: float


@dataclass
class Generator:
    """Generates text from one image on one executor, keeping the context between runs.

    Raises HardcastError when the image's tokenizer cannot be used.
    """

    image: Image
    executor: Executor
    tokens: list[int] = field(default_factory=list)  # what the session's cache holds

    def __post_init__(self) -> None:
        self.tokenizer = Tokenizer(TokenizerSpec.from_json(self.image.tokenizer_json()))
        self._session = self.executor.session()

    def run(
        self,
        prompt_ids: Sequence[int],
        settings: SamplerSettings,
        max_tokens: int,
        stop: Sequence[str] = (),
    ) -> Iterator[str | Result]:
        """Yields pieces of text as they become certain, then one Result.

        prompt_ids: the whole text so far; what it shares with the last run is not run again.
        stop: the text ends before the first of these to appear.
        Raises HardcastError for an empty prompt, one that leaves no room in the context, or ids
        outside the vocabulary.
        """
        prompt = [int(token) for token in prompt_ids]
        self._check(prompt, max_tokens)
        cached = self._reuse(prompt)
        begun = time.perf_counter()
        logits = self._forward(prompt[cached:])
        prefill_seconds = time.perf_counter() - begun

        made: list[int] = []
        said: list[str] = []
        stream, gate = self.tokenizer.stream(), StopGate(stop)
        reason = "length"
        begun = time.perf_counter()
        while len(made) < max_tokens and not gate.stopped:
            token = self.executor.sample(logits[-1], settings, self._session.length)
            made.append(token)
            if token in self.tokenizer.eos_ids:
                reason = "stop"
                break
            piece = gate.push(stream.push(token))
            if piece:
                said.append(piece)
                yield piece
            if len(made) == max_tokens or self._session.length == self.image.context:
                break
            if not gate.stopped:
                logits = self._forward([token])
        seconds = time.perf_counter() - begun
        piece = "" if gate.stopped else gate.push(stream.flush()) + gate.flush()
        if gate.stopped:
            reason = "stop"
        if piece:
            said.append(piece)
            yield piece
        yield Result(
            "".join(said),
            made,
            len(prompt),
            cached,
            reason,
            # the first token came out of the prefill: the loop ran one pass less
            (len(made) - 1) / seconds if len(made) > 1 else 0.0,
            (len(prompt) - cached) / prefill_seconds,
        )

    def _check(self, prompt: list[int], max_tokens: int) -> None:
        vocab = self.image.program.shape.vocab_size
        if not prompt:
            raise HardcastError("the prompt is empty: there is no token to begin from")
        if max_tokens < 1:
            raise HardcastError(f"max tokens {max_tokens}: at least 1 must be asked for")
        if len(prompt) > self.image.context:
            raise HardcastError(
                f"the prompt has {len(prompt)} tokens, the chip's context holds "
                f"{self.image.context}; shorten it or build with a larger --context"
            )
        wrong = next((token for token in prompt if not 0 <= token < vocab), None)
        if wrong is not None:
            raise HardcastError(f"token id {wrong} is outside the vocabulary of {vocab}")

    def _reuse(self, prompt: list[int]) -> int:
        """Keeps the cached prefix that the prompt shares; its last token always runs anew."""
        limit = min(len(self.tokens), len(prompt) - 1)
        cached = 0
        while cached < limit and self.tokens[cached] == prompt[cached]:
            cached += 1
        self._session.truncate(cached)
        del self.tokens[cached:]
        return cached

    def _forward(self, tokens: list[int]) -> np.ndarray:
        logits = self._session.forward(tokens)
        self.tokens += tokens
        return logits


class StopGate:
    """Lets text through until a stop string appears; holds back what might begin one."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = [text for text in stop if text]
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Text that certainly comes before any stop string."""
        if self.stopped:
            return ""
        self._held += text
        found = [(at + len(s), at) for s in self._stop if (at := self._held.find(s)) >= 0]
        if found:
            # The first to be complete, as if the text had come letter by letter: how it was cut
            # into pieces must not show.
            self.stopped = True
            passed, self._held = self._held[: min(found)[1]], ""
            return passed
        keep = max((self._overlap(stop) for stop in self._stop), default=0)
        cut = len(self._held) - keep
        passed, self._held = self._held[:cut], self._held[cut:]
        return passed

    def flush(self) -> str:
        """What was held back, once nothing more can come."""
        passed, self._held = ("" if self.stopped else self._held), ""
        return passed

    def _overlap(self, stop: str) -> int:
        """Length of the longest end of the held text that begins `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if stop.startswith(self._held[-n:])), 0)
