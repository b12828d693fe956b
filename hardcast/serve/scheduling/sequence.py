"""An answer as it grows: tokens, context, text, in the same steps as generate.Generator's."""

from __future__ import annotations

import time

import numpy as np

from hardcast.engine import Session
from hardcast.generate import StopGate
from hardcast.serve.scheduling.constrain import Matcher
from hardcast.serve.scheduling.logits import Shaper, logprobs
from hardcast.serve.scheduling.request import Finished, GenerationRequest, Reason, Token
from hardcast.serve.scheduling.stream import Stream
from hardcast.tokenizer import Tokenizer


class Sequence:
    """A request being answered. Only the scheduler's thread touches it.

    tokens: prompt and answer. session: the context, which holds a beginning of these; None while
    it has no slot, or waits for `leader` to run a prompt that begins alike. settled: nobody need
    wait for this one's prompt, which was run (or never will be).
    """

    def __init__(
        self, request: GenerationRequest, stream: Stream, tokenizer: Tokenizer, arrival: int
    ) -> None:
        self.request, self.stream, self.arrival = request, stream, arrival
        self.owner = request.owner
        self.tokens = list(request.prompt_ids)
        self.session: Session | None = None
        self.leader: Sequence | None = None
        self.settled = False
        self.cached: int | None = None  # of the prompt; None before its first slot
        self.made = 0
        self.submitted = time.perf_counter()
        self.first_token: float | None = None
        self.last_token = self.submitted
        self._tokenizer = tokenizer
        self._text, self._gate = tokenizer.stream(), StopGate(request.stop)
        self._shaper: Shaper | None = None
        self._matcher: Matcher | None = None

    @property
    def pending(self) -> int:
        """Tokens that the context does not hold yet: 1 where the next token is to be made."""
        return len(self.tokens) - (self.session.length if self.session else 0)

    def waited(self) -> float:
        """Seconds since it was submitted."""
        return time.perf_counter() - self.submitted

    def shaped(self, row: np.ndarray, point: int) -> np.ndarray:
        """The logits to choose the next token by. row: int32[vocab] of the last token, at `point`.

        Raises HardcastError where its grammar fails.
        """
        if self._shaper is None:
            self._shaper = Shaper(self.request, point)
            self._matcher = self.request.constraint.start() if self.request.constraint else None
        return self._shaper.shape(row, self._matcher.allowed() if self._matcher else None)

    def accept(
        self, token: int, row: np.ndarray, point: int, context: int
    ) -> tuple[Token | None, Reason | None]:
        """Takes the token chosen: (what the reader gets of it, why the answer ends if it does).

        row: as the chip gave it, at `point`, for the logprobs. context: positions that there are.
        Raises HardcastError where its grammar fails.
        """
        now = time.perf_counter()
        self.made += 1
        self.first_token, self.last_token = self.first_token or now, now
        if token in self._tokenizer.eos_ids:
            return None, "stop"
        if self._shaper:
            self._shaper.push(token)
        if self._matcher:
            self._matcher.push(token)
        full = len(self.tokens) == context
        self.tokens.append(token)
        text = self._gate.push(self._text.push(token))
        logprob, top = None, None
        if self.request.top_logprobs is not None:
            logprob, top = logprobs(row, point, token, self.request.top_logprobs)
        event = Token(text, token, logprob, top, now - self.submitted)
        if self._gate.stopped:
            return event, "stop"
        return event, "length" if full or self.made == self.request.max_tokens else None

    def finish(self, reason: Reason, error: str | None = None) -> Finished:
        """The end. A text that is complete is flushed; of another nothing more is said."""
        text = ""
        if reason in ("stop", "length") and not self._gate.stopped:
            text = self._gate.push(self._text.flush()) + self._gate.flush()
            reason = "stop" if self._gate.stopped else reason
        first = None if self.first_token is None else self.first_token - self.submitted
        return Finished(
            reason,
            text,
            len(self.request.prompt_ids),
            self.cached or 0,
            self.made,
            first,
            self.waited(),
            error,
        )
