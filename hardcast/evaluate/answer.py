"""Free answers to many prompts at once, each ended by a stop string, an end token or its length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hardcast.evaluate.lanes import LANES, Executor, Lane, Steps, run_lanes
from hardcast.numerics.sampling import SamplerSettings
from hardcast.tokenizer import Tokenizer


@dataclass(frozen=True)
class Question:
    """prompt: token ids, at least one. max_tokens: the answer's length, at least 1.

    stop: the answer ends before the first of these texts, wherever a token was cut.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    stop: tuple[str, ...] = ()
    settings: SamplerSettings = SamplerSettings()


def answer(
    executor: Executor,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    *,
    lanes: int = LANES,
    done: Callable[[str], None] | None = None,
) -> list[str]:
    """The answers' texts, in the questions' order; special tokens leave no text.

    Raises ValueError for a prompt and answer that do not fit the chip's context together.
    """
    for question in questions:
        if len(question.prompt) + question.max_tokens > executor.image.context:
            raise ValueError("prompt and answer exceed the chip's context")

    def job(question: Question) -> Callable[[Lane], Steps[str]]:
        return lambda lane: _answer_one(executor, tokenizer, question, lane)

    # Prompts that begin alike after one another, for the beginning that a lane still holds.
    order = sorted(range(len(questions)), key=lambda index: questions[index].prompt)
    texts = run_lanes(executor, [job(questions[i]) for i in order], lanes=lanes, done=done)
    found = dict(zip(order, texts, strict=True))
    return [found[index] for index in range(len(questions))]


def _answer_one(
    executor: Executor, tokenizer: Tokenizer, question: Question, lane: Lane
) -> Steps[str]:
    kept = lane.keep(question.prompt[:-1])
    logits = yield question.prompt[kept:], "last"
    # A stop string may be the text of a special token, so the stream shows those too.
    stream, said = tokenizer.stream(skip_special=False), ""
    made: list[int] = []
    while True:
        token = executor.sample(logits[-1], question.settings, len(lane.tokens))
        if token in tokenizer.eos_ids:
            break
        made.append(token)
        said += stream.push(token)
        if len(made) == question.max_tokens or any(stop in said for stop in question.stop if stop):
            break
        logits = yield [token], "last"
    return before(tokenizer.decode(made), question.stop)


def before(text: str, stop: Sequence[str]) -> str:
    """The text up to where the earliest of the stop strings begins."""
    for end in stop:
        if end:
            text = text.partition(end)[0]
    return text
