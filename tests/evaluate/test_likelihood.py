"""Scores of continuations and free answers, against golden asked a sequence at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hardcast import flow
from hardcast.engine import Engine
from hardcast.evaluate.answer import Question, answer, before
from hardcast.evaluate.lanes import Lane, Steps, run_lanes
from hardcast.evaluate.likelihood import Score, score
from hardcast.golden import Golden
from hardcast.image import open_image
from hardcast.numerics.sampling import SamplerSettings
from hardcast.tokenizer import Tokenizer, TokenizerSpec
from tests import tiny

CONTEXT = 64


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    folder = tmp_path_factory.mktemp("likelihood")
    source = tiny.write_gguf(folder / "tiny.gguf", "llama", quant="Q4_1")
    flow.build(str(source), folder / "tiny.chip", context=CONTEXT, recipe="4bit")
    return Golden(open_image(folder / "tiny.chip"))


@pytest.fixture(scope="module")
def tokenizer(golden: Golden) -> Tokenizer:
    return Tokenizer(TokenizerSpec.from_json(golden.image.tokenizer_json()))


def by_hand(golden: Golden, context: list[int], continuation: list[int]) -> Score:
    """One pair alone, from an empty session, every logit at once."""
    whole = [*context, *continuation][-(CONTEXT + 1) :]
    logits = golden.session().forward(whole[:-1], logits="all")[-len(continuation) :]
    terms = []
    for row, token in zip(logits * 2.0**-golden.image.points.logits, continuation, strict=True):
        shifted = row - row.max()
        terms.append(shifted[token] - math.log(np.exp(shifted).sum()))
    return Score(math.fsum(terms), bool((logits.argmax(axis=1) == continuation).all()))


def pairs(golden: Golden) -> list[tuple[list[int], list[int]]]:
    """Shared contexts and beginnings, equal pairs, one-token and cut ones, and greedy ones."""
    draw = np.random.default_rng(3)

    def tokens(count: int) -> list[int]:
        return draw.integers(0, 1009, count).tolist()

    shots, short = tokens(20), tokens(1)
    found = []
    for length in (1, 3, 7):
        context = shots + tokens(length)
        likeliest = [int(golden.session().forward(context)[0].argmax())]
        choices = [tokens(1), tokens(4), likeliest, [*likeliest, *tokens(2)], tokens(40)]
        found += [(context, choice) for choice in choices]
    found += [(short, tokens(CONTEXT)), (tokens(90), tokens(33)), (tokens(CONTEXT), tokens(1))]
    return [*found, found[2], found[0]]


@pytest.mark.parametrize("lanes", [1, 3, 40])
def test_scores_equal_golden_asked_one_by_one(golden: Golden, lanes: int) -> None:
    """Bit for bit, however the requests are laid together, on golden and on the engine."""
    requests = pairs(golden)
    expected = [by_hand(golden, *request) for request in requests]
    assert {one.greedy for one in expected} == {True, False}
    seen: list[int] = []
    assert score(golden, requests, lanes=lanes, done=seen.append) == expected
    assert score(Engine(golden.image), requests, lanes=lanes) == expected
    assert sum(seen) == len(requests)


def test_a_continuation_of_two_greedy_tokens_is_greedy(golden: Golden) -> None:
    context = [5, 6, 7]
    first = int(golden.session().forward(context)[0].argmax())
    second = int(golden.session().forward([*context, first])[0].argmax())
    third = (second + 1) % 1009
    found = score(golden, [(context, [first, second]), (context, [first, third])])
    assert [one.greedy for one in found] == [True, False]


@pytest.mark.parametrize("pair", [([], [1]), ([1], []), ([1], [1] * (CONTEXT + 1))])
def test_pairs_that_cannot_be_scored(golden: Golden, pair: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="pair 0"):
        score(golden, [pair])


def test_shared_beginnings_are_run_once(golden: Golden) -> None:
    """Four choices of one token after one context cost the context and nothing more."""
    run = 0

    class Counting:
        image = golden.image

        def session(self) -> Any:
            session = golden.session()
            forward = session.forward

            def counted(tokens: Any, logits: str = "last") -> np.ndarray:
                nonlocal run
                run += len(tokens)
                return forward(tokens, logits)

            session.forward = counted  # type: ignore[method-assign]
            return session

        def sample(self, logits: np.ndarray, settings: SamplerSettings, position: int) -> int:
            raise AssertionError("nothing is drawn")

    context = list(range(30))
    score(Counting(), [(context, [choice]) for choice in (1, 2, 3, 4)], lanes=1)
    assert run == 30
    score(Counting(), [([*context, end], [7, 8, 9]) for end in (1, 2)], lanes=1)
    assert run == 30 + 31 + 2 + 1 + 2


def greedy_text(golden: Golden, tokenizer: Tokenizer, question: Question) -> str:
    """The answer without lanes: one session each, greedy, then cut."""
    session, made = golden.session(), []
    logits = session.forward(question.prompt)
    while len(made) < question.max_tokens:
        token = int(logits[0].argmax())
        if token in tokenizer.eos_ids:
            break
        made.append(token)
        logits = session.forward([token])
    return before(tokenizer.decode(made), question.stop)


@pytest.mark.parametrize("lanes", [1, 4])
def test_answers_equal_golden_asked_one_by_one(
    golden: Golden, tokenizer: Tokenizer, lanes: int
) -> None:
    prompts = [[1, 2, 3], [1, 2, 3, 4], [9], list(range(40)), [1, 2, 3]]
    questions = [Question(tuple(p), 10) for p in prompts]
    plain = [greedy_text(golden, tokenizer, question) for question in questions]
    assert len(set(plain)) >= 3
    # Stop strings taken out of the answers themselves, so that they do end them.
    stops = tuple(text[len(text) // 2 :][:2] for text in plain)
    questions += [Question(tuple(p), 10, (s, "zz")) for p, s in zip(prompts, stops, strict=True)]
    expected = [greedy_text(golden, tokenizer, question) for question in questions]
    assert expected[5:] != plain
    assert answer(Engine(golden.image), tokenizer, questions, lanes=lanes) == expected
    assert answer(golden, tokenizer, questions[-2:], lanes=lanes) == expected[-2:]


def test_draws_are_the_samplers_own(golden: Golden, tokenizer: Tokenizer) -> None:
    def drawn(seed: int, lanes: int) -> list[str]:
        settings = SamplerSettings.from_user(1.5, seed=seed)
        question = Question((4, 5), 12, (), settings)
        return answer(golden, tokenizer, [question, Question((4,), 12)], lanes=lanes)

    assert drawn(1, 1) == drawn(1, 2)
    assert drawn(1, 1)[0] != drawn(2, 1)[0]
    assert drawn(1, 1)[1] == drawn(2, 1)[1]


def test_an_answer_must_fit_the_context(golden: Golden, tokenizer: Tokenizer) -> None:
    assert answer(golden, tokenizer, [Question((1,) * 60, 4)])
    with pytest.raises(ValueError, match="exceed"):
        answer(golden, tokenizer, [Question((1,) * 61, 4)])


def test_text_before_the_earliest_stop() -> None:
    assert before("one two three", ["three", "two"]) == "one "
    assert before("one two", ["", "four"]) == "one two"
    assert before("one", ["one"]) == ""


def test_lanes_keep_the_order_of_jobs(golden: Golden) -> None:
    """A job that ends at once, and more jobs than lanes."""

    def job(count: int) -> Any:
        def steps(lane: Lane) -> Steps[int]:
            lane.keep([])
            for _ in range(count):
                logits = yield [3], "last"
                assert logits.shape == (1, 1009)
            return count

        return steps

    counts = [2, 0, 3, 1, 0, 0, 2]
    assert run_lanes(golden, [job(count) for count in counts], lanes=2) == counts
    assert run_lanes(golden, []) == []
