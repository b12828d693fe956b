"""Steps of a batch, one by one: who runs what, shared prompts, memory, and what goes wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.serve.scheduling import stream
from hardcast.serve.scheduling.request import Finished, GenerationRequest
from hardcast.serve.scheduling.sequence import Sequence as Running
from hardcast.serve.scheduling.stream import Stream
from hardcast.tokenizer import Tokenizer
from tests.serve.asking import CONTEXT, Alone, answer_of, ask, build_image, prompt, tokenizer_of
from tests.serve.scheduling.driven import Driven


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build_image(tmp_path_factory.mktemp("batch"))


@pytest.fixture(scope="module")
def tokenizer(image: Image) -> Tokenizer:
    return tokenizer_of(image)


@pytest.fixture(scope="module")
def alone(image: Image) -> Alone:
    return Alone(image)


@pytest.fixture
def driven(image: Image, tokenizer: Tokenizer) -> Iterator[Driven]:
    one = Driven(image, tokenizer)
    yield one
    one.empty()


# The same answer, whatever else runs

REQUESTS = st.builds(
    lambda start, more, seed, hot, count, owner, stop: ask(
        prompt(start) + prompt(more, seed),
        count,
        temperature=hot,
        seed=seed,
        top_p=0.9 if seed % 2 else 1.0,
        owner=owner,
        stop=stop,
    ),
    start=st.sampled_from([0, 3, 40, 64, 130]),  # beginnings that many share
    more=st.integers(1, 40),
    seed=st.integers(0, 5),
    hot=st.sampled_from([0.0, 1.0, 3.0]),
    count=st.integers(1, 40),
    owner=st.sampled_from("abc"),
    stop=st.sampled_from([(), ("e",), ("the", " a")]),
)
PLANS = st.lists(
    st.tuples(REQUESTS, st.integers(0, 6), st.none() | st.integers(0, 20)), min_size=1, max_size=10
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    plan=PLANS,
    chunk=st.sampled_from([1, 7, 64, 300]),
    slots=st.sampled_from([1, 2, 4, 8]),
    pages=st.sampled_from([None, 4, 6, 9]),
)
def test_an_answer_is_the_one_given_alone(
    image: Image,
    tokenizer: Tokenizer,
    alone: Alone,
    plan: list[tuple[GenerationRequest, int, int | None]],
    chunk: int,
    slots: int,
    pages: int | None,
) -> None:
    """Joins, leaves, cancels, chunks, few slots, little memory: no token changes."""
    one = Driven(image, tokenizer, max_running=slots, chunk_tokens=chunk, pages=pages)
    asked: list[tuple[GenerationRequest, Running, int | None]] = []
    for request, wait, leaves in plan:
        asked.append((request, one.add(request), leaves))
        for _ in range(wait):
            one.step()
            _cancel(one, asked)
    for _ in range(5000):
        if not one.batch.everything():
            break
        one.step()
        _cancel(one, asked)
    for request, sequence, _ in asked:
        answer = answer_of(one.events[sequence.stream])
        ids, text, reason, count = alone.to(request)
        if answer.end.reason == "cancelled":
            assert sequence.stream.cancelled
            assert [t.token_id for t in answer.tokens] == ids[: len(answer.tokens)]
            assert text.startswith(answer.text)
        else:
            assert answer.said == (ids, text, reason, count)
        assert answer.end.prompt_tokens == len(request.prompt_ids) > answer.end.cached_tokens
    one.empty()


def _cancel(one: Driven, asked: Sequence[tuple[GenerationRequest, Running, int | None]]) -> None:
    for _, sequence, leaves in asked:
        if leaves is not None and one.made(sequence) >= leaves:
            sequence.stream.cancel()


def test_a_prompt_that_fills_the_context_still_gets_its_token(driven: Driven, alone: Alone) -> None:
    full = driven.add(ask(prompt(CONTEXT), 5, 3.0, 1))
    nearly = driven.add(ask(prompt(CONTEXT - 3, 1), 50, 3.0, 2))
    answers = driven.run(full, nearly)
    assert [a.end.completion_tokens for a in answers] == [1, 4]
    assert [a.end.reason for a in answers] == ["length", "length"]
    assert [a.said for a in answers] == [alone.to(s.request) for s in (full, nearly)]


# Steps


def test_a_long_prompt_stalls_nobody(driven: Driven) -> None:
    """While it is run in chunks every other answer gets a token in every step."""
    others = [driven.add(ask(prompt(5, seed), 60, 1.0, seed)) for seed in range(3)]
    while not all(driven.made(other) for other in others):
        driven.step()
    long = driven.add(ask(prompt(200, 9), 2))
    steps = 0
    while not driven.made(long):
        before = [driven.made(other) for other in others]
        driven.step()
        steps += 1
        assert [driven.made(other) for other in others] == [count + 1 for count in before]
    assert steps == -(-200 // 16)
    driven.run()


def test_a_short_prompt_passes_a_long_one(driven: Driven) -> None:
    long, short = driven.add(ask(prompt(200), 2)), driven.add(ask(prompt(8, 1), 2))
    driven.step()
    assert driven.made(short) == 1 and driven.made(long) == 0
    driven.run()


def test_owners_share_a_step_evenly(driven: Driven) -> None:
    """One prompt of an owner gets as much as eight of another."""
    many = [driven.add(ask(prompt(100, seed), 1, owner="many")) for seed in range(7)]
    one = driven.add(ask(prompt(100, 8), 1, owner="one"))
    for _ in range(6):
        driven.step()
    ran = {s: len(s.request.prompt_ids) - s.pending for s in (*many, one)}
    assert ran[one] == sum(ran[s] for s in many) == 6 * 8
    driven.run()


def test_a_newcomer_takes_a_slot_of_who_has_many(
    image: Image, tokenizer: Tokenizer, alone: Alone
) -> None:
    one = Driven(image, tokenizer, max_running=4)
    many = [one.add(ask(prompt(6, seed), 100, 1.0, seed, owner="many")) for seed in range(8)]
    one.step()
    few = [one.add(ask(prompt(6, 20 + n), 100, 1.0, n, owner="few")) for n in range(3)]
    one.step()
    assert Counter(s.owner for s in one.batch.running) == {"many": 2, "few": 2}
    assert one.batch.preempted == 2
    for sequence, answer in zip([*many, *few], one.run(*many, *few), strict=True):
        assert answer.said == alone.to(sequence.request)
    one.empty()


# Prompts that begin alike


def test_several_answers_to_a_prompt_run_it_once(driven: Driven, alone: Alone) -> None:
    same = [driven.add(ask(prompt(100), 6, 2.0, seed)) for seed in range(5)]
    answers = driven.run(*same)
    assert [a.end.cached_tokens for a in answers] == [0, 99, 99, 99, 99]
    assert [a.said for a in answers] == [alone.to(s.request) for s in same]
    assert (driven.batch.prompt_tokens, driven.batch.cached_tokens) == (500, 396)


def test_whoever_waits_for_a_prompt_goes_on_without_it(driven: Driven, alone: Alone) -> None:
    """The first of three is cancelled in the middle of its prompt; the next takes over."""
    first, second, third = (driven.add(ask(prompt(100), 6, 2.0, seed)) for seed in range(3))
    driven.step()
    driven.step()
    first.stream.cancel()
    answers = driven.run(first, second, third)
    assert answers[0].end.reason == "cancelled"
    # What the first had run by then is not lost.
    assert [a.end.cached_tokens for a in answers] == [0, 32, 99]
    assert [a.said for a in answers[1:]] == [alone.to(s.request) for s in (second, third)]


def test_a_conversation_goes_on_from_what_was_said(driven: Driven, alone: Alone) -> None:
    said = list(prompt(70))
    for turn in range(3):
        sequence = driven.add(ask(said, 10, 1.0, turn))
        (answer,) = driven.run(sequence)
        assert answer.said == alone.to(sequence.request)
        # All but the token said last, which nothing followed, and the new ones.
        assert answer.end.cached_tokens == (0 if turn == 0 else len(said) - 6)
        said += [*answer.said[0], *prompt(5, turn)]


# Memory


def test_memory_is_bounded_and_the_youngest_makes_room(
    image: Image, tokenizer: Tokenizer, alone: Alone
) -> None:
    """Four answers of three pages each on six pages."""
    one = Driven(image, tokenizer, pages=6)
    sequences = [one.add(ask(prompt(60, n), 100, 1.0, n)) for n in range(4)]
    while one.batch.everything():
        one.step()
        assert one.engine.kv_use.used_pages <= 6
        if one.batch.running:
            assert min(s.arrival for s in one.batch.everything()) in {
                s.arrival for s in one.batch.running
            }
    assert one.batch.preempted > 0
    answers = one.run(*sequences)
    assert [a.said for a in answers] == [alone.to(s.request) for s in sequences]
    one.empty()


def test_memory_that_is_less_than_the_context_ends_an_answer_as_the_context_does(
    image: Image, tokenizer: Tokenizer, alone: Alone
) -> None:
    """The same whether others want memory too or not."""
    one = Driven(image, tokenizer, pages=2)
    with pytest.raises(HardcastError, match="has 129 tokens, the server's memory holds 128; short"):
        one.add(ask(prompt(129)))
    sequences = [one.add(ask(prompt(100, n), 100, 3.0, n)) for n in range(3)]
    for sequence, answer in zip(sequences, one.run(*sequences), strict=True):
        assert (answer.end.completion_tokens, answer.end.reason) == (29, "length")
        assert answer.said[0] == alone.to(sequence.request)[0][:29]
    one.empty()


def test_memory_is_flat_over_joins_and_leaves(image: Image, tokenizer: Tokenizer) -> None:
    """Thousands of answers come, go and break off: pages and objects do not add up."""
    import gc

    one = Driven(image, tokenizer, pages=40)
    draw = np.random.default_rng(1)
    counts = []
    for _ in range(6):
        for n in range(120):
            one.add(ask(prompt(int(draw.integers(1, 100)), int(draw.integers(40))), 3, 1.0, n))
            one.step()
            if n % 3 == 0 and one.batch.running:
                one.batch.running[-1].stream.cancel()
        one.run()
        one.events.clear()
        assert one.engine.kv_use.used_pages <= 40
        gc.collect()
        counts.append(sum(isinstance(o, Running | Stream | Finished) for o in gc.get_objects()))
    assert counts[-1] <= counts[1], counts
    one.empty()


# What goes wrong


def test_a_cancelled_answer_is_in_no_further_step(driven: Driven) -> None:
    sequence, other = driven.add(ask(prompt(5), 50, 1.0)), driven.add(ask(prompt(6, 1), 50, 1.0))
    for _ in range(4):
        driven.step()
    made = driven.made(sequence)
    sequence.stream.cancel()
    driven.step()
    assert sequence not in driven.batch.running and sequence.session is None
    assert driven.made(sequence) == made
    assert answer_of(driven.events[sequence.stream]).end.reason == "cancelled"
    assert driven.made(other) == made + 1
    driven.run()


def test_a_slow_reader_pauses_its_own_answer(
    image: Image, tokenizer: Tokenizer, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many events as the buffer holds are made for it; meanwhile others have its slot."""
    monkeypatch.setattr(stream, "BUFFER", 10)
    one = Driven(image, tokenizer, max_running=1)
    slow = one.add(ask(prompt(3), 40, 3.0, 3))
    one.slow.add(slow.stream)
    for _ in range(30):
        one.step()
    assert one.made(slow) == 10 and slow.stream.paused and one.batch.idle
    other = one.add(ask(prompt(4), 40, 3.0, 4))
    (answer,) = one.run(other, until=lambda: other not in one.batch.everything())
    assert answer.said == alone.to(other.request) and one.made(slow) == 10
    slow.stream._taken += 4  # six are left, half of the buffer is five
    one.step()
    assert one.made(slow) == 10
    slow.stream._taken += 1
    assert not one.batch.idle
    for _ in range(30):
        one.step()
    assert one.made(slow) == 15
    one.slow.clear()
    slow.stream._taken = slow.stream._sent
    (answer,) = one.run(slow)
    assert answer.said == alone.to(slow.request)
    one.empty()


def test_an_error_of_one_is_of_one(
    driven: Driven, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [driven.add(ask(prompt(30, n), 20, 1.0, n)) for n in range(3)]
    bad = driven.add(ask(prompt(31, 9), 20, 1.0))
    forward = driven.engine.forward_batch

    def fails(work: Any) -> Any:
        if any(session is bad.session and session.length > 40 for session, _, _ in work):
            forward(work[: len(work) // 2])  # some have moved on by then
            raise RuntimeError("a fault")
        return forward(work)

    monkeypatch.setattr(driven.engine, "forward_batch", fails)
    *answers, broken = driven.run(*good, bad)
    assert [a.said for a in answers] == [alone.to(s.request) for s in good]
    assert broken.end.reason == "error" and "a fault" in str(broken.end.error)
    assert len(broken.tokens) == 11


def test_a_grammar_that_fails_ends_its_own_answer(driven: Driven, alone: Alone) -> None:
    class Fails:
        def start(self) -> Fails:
            return self

        def allowed(self) -> np.ndarray:
            raise HardcastError("the grammar failed: of course")

    bad = driven.add(ask(prompt(4), 5, constraint=Fails()))
    good = driven.add(ask(prompt(5), 5))
    answers = driven.run(bad, good)
    assert (answers[0].end.reason, answers[0].end.error) == (
        "error",
        "the grammar failed: of course",
    )
    assert answers[1].said == alone.to(good.request)
