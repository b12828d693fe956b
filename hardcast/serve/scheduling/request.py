"""What is asked of the scheduler, and what comes back: a request, its tokens, its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.serve.scheduling.constrain import Constraint

MOST_LOGPROBS = 20  # alternatives of a token, as OpenAI's API has it
MOST_BIAS, MOST_PENALTY = 100.0, 2.0
Reason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to be generated.

    top_logprobs: None for no logprobs, 0 for the chosen token's only, else so many alternatives.
    logit_bias: by token id, in natural logits, as presence_penalty (once for a token that the
    answer has) and frequency_penalty (for each time that it has it) are. owner: between whom the
    chip is shared fairly. max_tokens: 0 runs the prompt alone. score_prompt: say the logprobs of
    the prompt's tokens first, with top_logprobs alternatives. continuation: the answer's text goes
    on after the prompt's, so it keeps a space at its beginning. spoken: special tokens that leave
    their text in the answer.
    """

    prompt_ids: tuple[int, ...]
    settings: SamplerSettings
    max_tokens: int
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    constraint: Constraint | None = None
    owner: str = ""
    score_prompt: bool = False
    continuation: bool = False
    spoken: frozenset[int] = frozenset()

    def check(self, image: Image) -> None:
        """Raises HardcastError, one line, for what the image cannot do."""
        vocab, prompt = image.program.shape.vocab_size, self.prompt_ids
        if not prompt:
            raise HardcastError("the prompt is empty: there is no token to begin from")
        if self.max_tokens < 0:
            raise HardcastError(f"max tokens {self.max_tokens}: expected 0 or more")
        if len(prompt) > image.context:
            raise HardcastError(
                f"the prompt has {len(prompt)} tokens, the chip's context holds "
                f"{image.context}; shorten it"
            )
        if not (0 <= min(prompt) and max(prompt) < vocab):
            wrong = next(token for token in prompt if not 0 <= token < vocab)
            raise HardcastError(f"token id {wrong} is outside the vocabulary of {vocab}")
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= MOST_LOGPROBS:
            raise HardcastError(f"top_logprobs {self.top_logprobs} is outside 0..{MOST_LOGPROBS}")
        for token, bias in self.logit_bias.items():
            if not 0 <= token < vocab:
                raise HardcastError(
                    f"logit_bias: token id {token} is outside the vocabulary of {vocab}"
                )
            _within(f"logit_bias of {token}", bias, MOST_BIAS)
        _within("presence_penalty", self.presence_penalty, MOST_PENALTY)
        _within("frequency_penalty", self.frequency_penalty, MOST_PENALTY)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the answer; the one that ends it is not among them. Or one of the prompt's.

    text: what is certain now, often a word, sometimes nothing. logprob: natural logarithm, of the
    chip's own distribution at temperature 1. top: likeliest first. seconds: since submission.
    """

    text: str
    token_id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt's tokens, where their logprobs were asked for: before anything else, once.

    Nothing comes before the first, so it has neither logprob nor alternatives. Their text is empty.
    """

    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer. text: what was held back until now.

    end: the token that ended it, if one did and logprobs were asked for.

    cached_tokens: of the prompt, that were in memory. completion_tokens: the end token included.
    first_token_seconds, seconds: since submission; the first is None if there was no token.
    """

    reason: Reason
    text: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    first_token_seconds: float | None
    seconds: float
    error: str | None = None
    end: Token | None = None


Event = Prompt | Token | Finished


class QueueFull(Exception):
    """No room to wait in. retry_after_seconds: when there may be some."""

    def __init__(self, retry_after_seconds: float, why: str = "the queue is full") -> None:
        super().__init__(f"{why}; try again in {retry_after_seconds:.0f} s")
        self.retry_after_seconds = retry_after_seconds


class Draining(QueueFull):
    """The server ends: what it accepted is finished, nothing new is taken."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(retry_after_seconds, "the server is shutting down")


def _within(name: str, value: float, most: float) -> None:
    if not (math.isfinite(value) and -most <= value <= most):
        raise HardcastError(f"{name}: {value} is outside -{most:g}..{most:g}")
