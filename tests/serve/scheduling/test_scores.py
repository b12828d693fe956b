"""Logprobs of a prompt's tokens: those of evaluate/likelihood.py, however the prompt is run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.engine import Engine
from hardcast.evaluate.likelihood import log_probabilities
from hardcast.image import Image
from hardcast.serve.scheduling.request import Event, Finished, Prompt, Token
from hardcast.serve.scheduling.sequence import Sequence as Running
from tests.serve.asking import CONTEXT, Alone, answer_of, ask, build_image, prompt, tokenizer_of
from tests.serve.scheduling.driven import PAGE, Driven


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build_image(tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="module")
def alone(image: Image) -> Alone:
    return Alone(image)


@pytest.fixture(scope="module")
def engine(image: Image) -> Engine:
    return Engine(image, threads=1)


@pytest.fixture
def driven(image: Image) -> Iterator[Driven]:
    one = Driven(image, tokenizer_of(image))
    yield one
    one.empty()


def scores_of(driven: Driven, running: Running) -> tuple[Prompt, list[Event]]:
    """The prompt's logprobs, which come first and once, and what follows."""
    first, *rest = driven.events[running.stream]
    assert isinstance(first, Prompt)
    assert not any(isinstance(event, Prompt) for event in rest)
    return first, rest


def check(found: Prompt, ids: Sequence[int], engine: Engine, top: int) -> None:
    """Holds them against the evaluator's own, from one pass over the whole."""
    assert [token.token_id for token in found.tokens] == list(ids)
    assert (found.tokens[0].logprob, found.tokens[0].top) == (None, None)
    session = engine.session()
    logits = session.forward(ids, logits="all")
    session.close()
    unit = math.ldexp(1.0, -engine.image.points.logits)
    wanted = log_probabilities(logits[:-1], unit, ids[1:])
    assert [token.logprob for token in found.tokens[1:]] == pytest.approx(wanted, abs=1e-12)
    for token, row in zip(found.tokens[1:], logits, strict=False):
        assert token.top is not None and len(token.top) == top
        assert {i for i, _ in token.top} <= set(np.argsort(-row, kind="stable")[: top + 4])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    length=st.sampled_from([1, 2, 15, 16, 17, 63, 64, 65, 100, CONTEXT]),
    count=st.sampled_from([0, 1, 5]),
    top=st.integers(0, 3),
    others=st.lists(st.integers(1, 80), max_size=3),
)
def test_scores_are_the_evaluators(
    length: int,
    count: int,
    top: int,
    others: list[int],
    driven: Driven,
    alone: Alone,
    engine: Engine,
) -> None:
    """Beside others that begin alike, in parts, and where the prompt is in memory already."""
    ids = prompt(length)
    beside = [driven.add(ask(prompt(n), 3)) for n in others]
    requests = [ask(ids, count, top_logprobs=top, score_prompt=True) for _ in range(2)]
    running = driven.add(requests[0])
    driven.run(*beside)
    again = driven.add(requests[1])
    driven.run(*beside)
    for one in (running, again):
        found, rest = scores_of(driven, one)
        check(found, ids, engine, top)
        assert isinstance(rest[-1], Finished)
        assert rest[-1].cached_tokens == 0
        if count:
            assert answer_of(rest).said == alone.to(ask(ids, count))
        else:
            assert (len(rest), rest[-1].reason, rest[-1].completion_tokens) == (1, "length", 0)


def test_a_prompt_that_loses_its_slot_is_scored_once(image: Image, engine: Engine) -> None:
    driven = Driven(image, tokenizer_of(image), pages=4)
    ids = prompt(3 * PAGE - 10, seed=4)
    older = driven.add(ask(prompt(PAGE - 2), 150, logit_bias={0: -100, 2: -100}))
    driven.step()
    running = driven.add(ask(ids, 2, top_logprobs=1, score_prompt=True))
    driven.run(older)
    assert driven.batch.preempted > 0
    check(scores_of(driven, running)[0], ids, engine, 1)
    driven.empty()


def test_a_prompt_may_be_run_alone(driven: Driven) -> None:
    running = driven.add(ask(prompt(20), 0))
    (event,) = driven.run(running) and driven.events[running.stream]
    assert isinstance(event, Finished)
    assert (event.reason, event.text, event.completion_tokens) == ("length", "", 0)


def test_the_end_token_has_its_logprob(driven: Driven) -> None:
    """An answer that is forced to end at once: the token is in the end, where it was asked for."""
    (end,) = tokenizer_of(driven.engine.image).eos_ids[:1]
    for top in (0, 2, None):
        running = driven.add(ask(prompt(5), 4, top_logprobs=top, logit_bias={end: 100}))
        driven.run(running)
        *tokens, last = driven.events[running.stream]
        assert isinstance(last, Finished) and not any(isinstance(t, Token) for t in tokens)
        if top is None:
            assert last.end is None
        else:
            assert last.end is not None and last.end.token_id == end
            assert last.end.logprob is not None and last.end.logprob < 0


def test_an_answer_that_goes_on_keeps_its_space(image: Image) -> None:
    """sentencepiece's first word has a space that is no part of a text, but is of a later one."""
    tokenizer = tokenizer_of(image)
    tokenizer._decoding = replace(tokenizer._decoding, strip=1)
    driven = Driven(image, tokenizer)
    word = next(i for i in range(1009) if tokenizer.token_bytes(i).startswith(b" c"))
    for goes_on in (False, True):
        running = driven.add(ask(prompt(5), 1, logit_bias={word: 100}, continuation=goes_on))
        (answer,) = driven.run(running)
        assert answer.text.startswith(" c") == goes_on
    driven.empty()
