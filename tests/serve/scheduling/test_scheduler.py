"""The scheduler's thread: answers to coroutines, refusals, slow readers, the end."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from hardcast.engine import Engine
from hardcast.errors import HardcastError
from hardcast.image import Image
from hardcast.serve.scheduling import stream as streams_module
from hardcast.serve.scheduling.request import Draining, Finished, QueueFull, Token
from hardcast.serve.scheduling.scheduler import Observer, Scheduler, Stream
from hardcast.tokenizer import Tokenizer
from tests.serve.asking import Alone, ask, build_image, prompt, read, tokenizer_of


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build_image(tmp_path_factory.mktemp("scheduler"))


@pytest.fixture(scope="module")
def tokenizer(image: Image) -> Tokenizer:
    return tokenizer_of(image)


@pytest.fixture(scope="module")
def alone(image: Image) -> Alone:
    return Alone(image)


@pytest.fixture
def scheduler(image: Image, tokenizer: Tokenizer) -> Iterator[Scheduler]:
    one = Scheduler(image, Engine(image, threads=1), tokenizer, chunk_tokens=32)
    one.start()
    yield one
    one.stop(0)


def slowed(one: Scheduler, seconds: float) -> None:
    """Every pass takes so long."""
    forward = one.engine.forward_batch

    def slow(work: Any) -> Any:
        time.sleep(seconds)
        return forward(work)

    one.engine.forward_batch = slow  # type: ignore[method-assign]


def test_many_streams_are_each_the_answer_given_alone(scheduler: Scheduler, alone: Alone) -> None:
    """Some leave after a few tokens, some ask again at once."""

    async def one(n: int) -> None:
        request = ask(prompt(n % 50 + 1, n % 7), 5 + n % 30, n % 3, n, owner=str(n % 4))
        if n % 5 == 0:
            stream = scheduler.submit(request, asyncio.get_running_loop())
            seen = []
            async for event in stream:
                if isinstance(event, Token):
                    seen.append(event.token_id)
                if len(seen) == 2:
                    break
            stream.cancel()
            assert seen == alone.to(request)[0][:2]
        stream = scheduler.submit(request, asyncio.get_running_loop())
        assert (await read(stream)).said == alone.to(request)

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, range(150)))

    asyncio.run(all_of_them())
    assert scheduler.stats().alive and scheduler.stats().finished_total >= 150
    scheduler.stop(1)
    assert scheduler.engine.kv_use.used_pages == 0


def test_what_an_answer_says_of_itself(scheduler: Scheduler) -> None:
    async def both() -> None:
        loop, request = asyncio.get_running_loop(), ask(prompt(70), 12, 1.0, 3, top_logprobs=3)
        for cached in (0, 69):
            answer = await read(scheduler.submit(request, loop))
            end = answer.end
            assert (end.prompt_tokens, end.cached_tokens, end.completion_tokens) == (70, cached, 12)
            times = [token.seconds for token in answer.tokens]
            assert times == sorted(times) and end.seconds >= times[-1]
            assert end.first_token_seconds == pytest.approx(times[0]) and end.error is None
            for token in answer.tokens:
                assert token.logprob is not None and token.top is not None
                assert len(token.top) == 3 and token.logprob <= token.top[0][1] <= 0

    asyncio.run(both())
    stats = scheduler.stats()
    assert (stats.prompt_tokens_total, stats.cached_tokens_total) == (140, 69)
    assert (stats.completion_tokens_total, stats.running, stats.waiting) == (24, 0, 0)


def test_a_stream_ends_once(scheduler: Scheduler) -> None:
    async def beyond() -> None:
        stream = scheduler.submit(ask(prompt(3), 2), asyncio.get_running_loop())
        await read(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        stream.cancel()  # of what has ended: nothing

    asyncio.run(beyond())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_ids": ()}, "the prompt is empty"),
        ({"max_tokens": -1}, "max tokens -1: expected 0 or more"),
        ({"prompt_ids": (5,) * 257}, "the prompt has 257 tokens, the chip's context holds 256"),
        ({"prompt_ids": (5, 1009)}, "token id 1009 is outside the vocabulary of 1009"),
        ({"prompt_ids": (-1,)}, "token id -1 is outside"),
        ({"top_logprobs": 21}, "top_logprobs 21 is outside 0..20"),
        ({"logit_bias": {1009: 1.0}}, "logit_bias: token id 1009"),
        ({"logit_bias": {3: 101.0}}, "logit_bias of 3: 101.0 is outside -100..100"),
        ({"presence_penalty": float("nan")}, "presence_penalty: nan is outside -2..2"),
        ({"frequency_penalty": -2.5}, "frequency_penalty: -2.5 is outside -2..2"),
    ],
)
def test_refusals(scheduler: Scheduler, change: dict[str, Any], message: str) -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(HardcastError, match=message) as caught:
        scheduler.submit(dataclasses.replace(ask(prompt(3)), **change), loop)
    assert "\n" not in str(caught.value)
    loop.close()


def test_bias_and_penalties_are_the_hosts_own_arithmetic(
    scheduler: Scheduler, image: Image
) -> None:
    """Against a loop that does nothing else."""
    bias = {77: 3.25, 500: -100.0, 12: 9.0}
    request = ask(prompt(4), 60, logit_bias=bias, presence_penalty=1.5, frequency_penalty=0.75)
    session, made = Engine(image, threads=1).session(), []
    tokens: Sequence[int] = request.prompt_ids
    while len(made) < 60:
        row = session.forward(tokens)[-1].astype(np.int64)
        for token, value in bias.items():
            row[token] += int(value * 1024)
        for token, count in Counter(made).items():
            row[token] -= 1536 + 768 * count
        tokens = [int(np.argmax(row))]
        made += tokens

    async def asked() -> None:
        answer = await read(scheduler.submit(request, asyncio.get_running_loop()))
        assert answer.said[0] == made

    assert 2 not in made and len(set(made)) > 3
    asyncio.run(asked())


def test_a_full_queue_refuses_and_says_when(image: Image, tokenizer: Tokenizer) -> None:
    one = Scheduler(image, Engine(image, threads=1), tokenizer, max_running=2, queue_limit=6)
    slowed(one, 0.02)
    one.start()

    async def crowd() -> None:
        loop = asyncio.get_running_loop()
        streams = [one.submit(ask(prompt(3), 10, 1.0, n, owner="many"), loop) for n in range(8)]
        with pytest.raises(QueueFull) as caught:
            one.submit(ask(prompt(3), owner="many"), loop)
        assert 1 <= caught.value.retry_after_seconds <= 60
        # Who has less than his share of the queue is let in.
        streams += [one.submit(ask(prompt(3), 3, owner="one"), loop) for _ in range(3)]
        ends = await asyncio.gather(*map(read, streams))
        assert all(answer.end.reason in ("length", "stop") for answer in ends)
        assert max(a.end.seconds for a in ends[8:]) < max(a.end.seconds for a in ends[:8])
        await read(one.submit(ask(prompt(3), owner="many"), loop))

    asyncio.run(crowd())
    one.stop(0)


def test_a_slow_reader_costs_a_bounded_buffer(
    image: Image, tokenizer: Tokenizer, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "BUFFER", 8)
    one = Scheduler(image, Engine(image, threads=1), tokenizer)
    one.start()

    async def slow() -> None:
        loop = asyncio.get_running_loop()
        request = ask(prompt(5), 200, 3.0, 5)
        lazy = one.submit(request, loop)
        events = []
        for _ in range(12):
            await asyncio.sleep(0.02)
            assert len(lazy._events) <= 8
            events.append(await anext(lazy))
        quick = ask(prompt(9), 50, 1.0)
        assert (await read(one.submit(quick, loop))).said == alone.to(quick)
        events += [event async for event in lazy]
        ids = [event.token_id for event in events if isinstance(event, Token)]
        assert ids == alone.to(request)[0] and isinstance(events[-1], Finished)

    asyncio.run(slow())
    one.stop(0)


def test_stop_finishes_what_runs_and_takes_nothing_new(
    image: Image, tokenizer: Tokenizer, alone: Alone
) -> None:
    one = Scheduler(image, Engine(image, threads=1), tokenizer, max_running=1)
    slowed(one, 0.01)
    one.start()

    async def until() -> None:
        loop = asyncio.get_running_loop()
        requests = [ask(prompt(5, n), 20, 1.0, n) for n in range(2)]
        streams = [one.submit(request, loop) for request in requests]
        stopping = loop.run_in_executor(None, one.stop, 30.0)
        with pytest.raises(Draining):
            while True:
                await asyncio.sleep(0.005)
                one.submit(ask(prompt(1), 1), loop).cancel()
        for request, stream in zip(requests, streams, strict=True):
            assert (await read(stream)).said == alone.to(request)
        await stopping

    asyncio.run(until())
    assert not one.stats().alive and one.engine.kv_use.used_pages == 0


def test_stop_cancels_what_takes_too_long(image: Image, tokenizer: Tokenizer) -> None:
    """A reader that never reads does not hold it up either."""
    one = Scheduler(image, Engine(image, threads=1), tokenizer, max_running=1)
    slowed(one, 0.02)
    one.start()

    async def until() -> None:
        loop = asyncio.get_running_loop()
        streams = [one.submit(ask(prompt(5, n), 200, 3.0, n), loop) for n in range(3)]
        begun = time.monotonic()
        await loop.run_in_executor(None, one.stop, 0.3)
        assert time.monotonic() - begun < 2
        ends = [(await read(stream)).end for stream in streams]
        assert [end.reason for end in ends] == ["cancelled"] * 3

    asyncio.run(until())
    assert one.engine.kv_use.used_pages == 0


def test_a_loop_that_closed_ends_its_answers_alone(scheduler: Scheduler, alone: Alone) -> None:
    slowed(scheduler, 0.005)

    async def leaves() -> None:
        for n in range(3):
            scheduler.submit(ask(prompt(5, n), 200, 3.0, n), asyncio.get_running_loop())
        await asyncio.sleep(0.05)

    async def stays() -> None:
        request = ask(prompt(8), 30, 1.0)
        stream = scheduler.submit(request, asyncio.get_running_loop())
        assert (await read(stream)).said == alone.to(request)

    asyncio.run(leaves())
    asyncio.run(stays())
    deadline = time.monotonic() + 5
    while scheduler.stats().running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert scheduler.stats().running == 0


def test_a_bug_in_a_step_ends_the_answers_and_not_the_scheduler(
    scheduler: Scheduler, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patched:
            patched.setattr(scheduler._batch, "_plan", lambda: 1 / 0)
            answer = await read(scheduler.submit(ask(prompt(5)), loop))
        assert answer.end.reason == "error" and "ZeroDivisionError" in str(answer.end.error)
        request = ask(prompt(5))
        assert (await read(scheduler.submit(request, loop))).said == alone.to(request)

    asyncio.run(broken())


def test_observers_hear_of_every_token(image: Image, tokenizer: Tokenizer) -> None:
    heard: dict[str, list[float]] = {}

    class Hears(Observer):
        def admitted(self, queue_seconds: float) -> None:
            heard.setdefault("admitted", []).append(queue_seconds)

        def first_token(self, seconds: float) -> None:
            heard.setdefault("first", []).append(seconds)

        def inter_token(self, seconds: float) -> None:
            heard.setdefault("inter", []).append(seconds)

        def finished(self, finished: Finished) -> None:
            heard.setdefault("finished", []).append(finished.seconds)

        def step(self, seconds: float, tokens: int) -> None:
            assert seconds > 0
            heard.setdefault("tokens", []).append(tokens)

    one = Scheduler(image, Engine(image, threads=1), tokenizer, observe=Hears())
    one.start()

    async def asked() -> None:
        loop = asyncio.get_running_loop()
        streams = [one.submit(ask(prompt(5, n), 7, 3.0, n), loop) for n in range(3)]
        assert [(await read(stream)).end.completion_tokens for stream in streams] == [7] * 3

    asyncio.run(asked())
    one.stop(0)
    assert {name: len(found) for name, found in heard.items() if name != "tokens"} == {
        "admitted": 3,
        "first": 3,
        "inter": 18,
        "finished": 3,
    }
    assert sum(heard["tokens"]) == 3 * (5 + 6)
    assert all(value >= 0 for found in heard.values() for value in found)


def test_submitting_from_many_threads(scheduler: Scheduler, alone: Alone) -> None:
    def one(n: int) -> None:
        async def asked() -> None:
            request = ask(prompt(n % 9 + 1), 10, 1.0, n)
            stream = scheduler.submit(request, asyncio.get_running_loop())
            good.append((await read(stream)).said == alone.to(request))

        asyncio.run(asked())

    good: list[bool] = []
    threads = [threading.Thread(target=one, args=(n,)) for n in range(16)]
    for n in range(16):
        alone.to(ask(prompt(n % 9 + 1), 10, 1.0, n))  # its engine is of one thread
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert good == [True] * 16


def test_nothing_is_taken_before_the_start(image: Image, tokenizer: Tokenizer) -> None:
    one = Scheduler(image, Engine(image, threads=1), tokenizer)
    loop = asyncio.new_event_loop()
    with pytest.raises(Draining):
        one.submit(ask(prompt(3)), loop)
    loop.close()
    assert isinstance(Stream(loop, lambda: None), Stream)
