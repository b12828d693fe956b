"""An answer as it grows: tokens, context, text, in the same steps as generate.Generator's."""

from __future__ import annotations

import time

import numpy as np

from hardcast.engine import Session
from hardcast.generate import StopGate
from hardcast.serve.scheduling.constrain import Matcher
from hardcast.serve.scheduling.logits import Shaper, logprobs
from hardcast.serve.scheduling.request import Finished, GenerationRequest, Prompt, Reason, Token
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
        self._text = tokenizer.stream(continuation=request.continuation, spoken=request.spoken)
        self._gate = StopGate(request.stop)
        self._end: Token | None = None
        # Of the prompt's tokens, as far as they are known: nothing comes before the first.
        self._scores = [Token("", self.tokens[0], None, None, 0.0)]
        self._scored = not request.score_prompt  # and said
        self._shaper: Shaper | None = None
        self._matcher: Matcher | None = None

    @property
    def pending(self) -> int:
        """Tokens that the context does not hold yet: 1 where the next token is to be made."""
        return len(self.tokens) - (self.session.length if self.session else 0)

    @property
    def scoring(self) -> bool:
        """Whether logits of the prompt's tokens are still wanted."""
        return not self._scored and len(self._scores) < len(self.request.prompt_ids)

    @property
    def reusable(self) -> int:
        """Positions that may come from memory: those whose logits nobody needs."""
        return (len(self._scores) if self.scoring else len(self.tokens)) - 1

    def waited(self) -> float:
        """Seconds since it was submitted."""
        return time.perf_counter() - self.submitted

    def score(self, rows: np.ndarray, point: int) -> Prompt | None:
        """Takes logits of the prompt; returns its logprobs once they are complete.

        rows: int32[n, vocab] of the last n positions that were run, at `point`.
        """
        if self._scored:
            return None
        prompt, top = self.request.prompt_ids, self.request.top_logprobs or 0
        assert self.session is not None
        for position, row in enumerate(rows, self.session.length - len(rows) + 1):
            if position == len(self._scores) < len(prompt):
                found = logprobs(row, point, prompt[position], top)
                self._scores.append(Token("", prompt[position], *found, self.waited()))
        self._scored = len(self._scores) == len(prompt)
        return Prompt(tuple(self._scores)) if self._scored else None

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
        logprob, top = None, None
        if self.request.top_logprobs is not None:
            logprob, top = logprobs(row, point, token, self.request.top_logprobs)
        if token in self._tokenizer.eos_ids:
            if logprob is not None:
                self._end = Token("", token, logprob, top, now - self.submitted)
            return None, "stop"
        if self._shaper:
            self._shaper.push(token)
        if self._matcher:
            self._matcher.push(token)
        full = len(self.tokens) == context
        self.tokens.append(token)
        text = self._gate.push(self._text.push(token))
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
            self._end,
        )
