"""An answer on its way from the scheduler's thread to a coroutine, with a bounded buffer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from hardcast.serve.scheduling.request import Event, Finished

BUFFER = 256  # events that wait for their reader; with more the answer pauses


class Stream:
    """Async iterator over Tokens, then exactly one Finished. One reader, on the loop it is for.

    A reader that is slow lets its answer pause, not memory grow.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self.loop = loop
        self.cancelled = False
        self.paused = False  # written by the scheduler alone
        self._wake = wake  # the scheduler
        self._sent = self._taken = 0
        self._events: deque[Event] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._ended = False

    def cancel(self) -> None:
        """Whoever asked is gone: the answer ends before the next step. From any thread."""
        self.cancelled = True
        self._wake()

    @property
    def full(self) -> bool:
        """Whether the reader is so far behind that the answer has to pause."""
        return self._sent - self._taken >= BUFFER

    @property
    def drained(self) -> bool:
        """Whether a paused answer may go on."""
        return self._sent - self._taken <= BUFFER // 2

    def count(self) -> None:
        """Counts an event as sent. From the scheduler's thread."""
        self._sent += 1

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._reader = self.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        event = self._events.popleft()
        self._taken += 1
        # The scheduler says that it paused before it looks at the backlog a last time, and here
        # the backlog shrinks before that is asked: one of both sees the other.
        if self.paused and self.drained:
            self._wake()
        self._ended = isinstance(event, Finished)
        return event

    def _deliver(self, event: Event) -> None:
        self._events.append(event)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


Sent = tuple[Stream, Event]


def send(events: Iterable[Sent]) -> None:
    """Hands events over to their loops: one call a loop, however many there are.

    Streams of a loop that is closed are cancelled. From the scheduler's thread.
    """
    loops: dict[asyncio.AbstractEventLoop, list[Sent]] = {}
    for stream, event in events:
        stream.count()
        loops.setdefault(stream.loop, []).append((stream, event))
    for loop, part in loops.items():
        try:
            loop.call_soon_threadsafe(_arrive, part)
        except RuntimeError:  # the loop is closed: nobody will ever read
            for stream, _ in part:
                stream.cancelled = True


def _arrive(events: list[Sent]) -> None:
    for stream, event in events:
        stream._deliver(event)
