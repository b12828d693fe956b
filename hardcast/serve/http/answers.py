"""The answers of one HTTP request on their way from the scheduler: merged, counted, closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from hardcast.serve.access.usage import Usage
from hardcast.serve.errors import ApiError, unavailable
from hardcast.serve.http.call import Call
from hardcast.serve.scheduling.request import Event, Finished, Token
from hardcast.serve.scheduling.scheduler import Stream

RETRY_SECONDS = 5.0  # after a shutdown: a restart takes about a second


async def merged(streams: Sequence[Stream]) -> AsyncIterator[tuple[int, Event]]:
    """(index, event) of several streams as they come; each ends with its Finished."""
    if len(streams) == 1:
        async for event in streams[0]:
            yield 0, event
        return
    waiting = {asyncio.ensure_future(anext(s)): i for i, s in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                index, event = waiting.pop(task), task.result()
                if not isinstance(event, Finished):
                    waiting[asyncio.ensure_future(anext(streams[index]))] = index
                yield index, event
    finally:
        for task in waiting:
            task.cancel()


class Answers:
    """Read once by events(), then closed, whatever happened in between.

    prompts: tokens of each prompt. per_prompt: answers to each, in the order of the streams.
    """

    def __init__(
        self, call: Call, streams: Sequence[Stream], prompts: Sequence[int], per_prompt: int
    ) -> None:
        self._call, self._streams, self._per_prompt = call, streams, per_prompt
        self._prompt_tokens, self._cached = sum(prompts), 0
        self._made = [0] * len(streams)
        self._ended: set[int] = set()
        self._open = True

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def usage(self) -> Usage:
        """What was used until now."""
        return Usage(self._prompt_tokens, self._cached, sum(self._made))

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """(index of the answer, event) as they come. Raises ApiError for an answer that failed."""
        async for index, event in merged(self._streams):
            if isinstance(event, Finished):
                self._ended.add(index)
                self._made[index] = event.completion_tokens
                if index % self._per_prompt == 0:  # the others find the prompt in memory anyhow
                    self._cached += event.cached_tokens
                check_finished(event)
            elif isinstance(event, Token):
                self._made[index] += 1
            yield index, event

    def close(self) -> None:
        """Ends what has not ended, and charges the key for what was used."""
        if self._open:
            self._open = False
            for index, stream in enumerate(self._streams):
                if index not in self._ended:
                    stream.cancel()
            self._call.charge(self.usage)


def check_finished(finished: Finished) -> None:
    """Raises ApiError for an answer that is none: 500 for a failure, 503 for a shutdown."""
    if finished.reason == "error":
        raise ApiError(500, finished.error or "the answer failed", "generation_failed")
    if finished.reason == "cancelled":
        raise unavailable("the server is shutting down", RETRY_SECONDS)
