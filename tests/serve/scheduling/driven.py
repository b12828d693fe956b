"""A batch whose steps a test takes one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hardcast.engine import Engine
from hardcast.image import Image
from hardcast.serve.scheduling.batch import Batch
from hardcast.serve.scheduling.observe import Observer
from hardcast.serve.scheduling.request import Event, GenerationRequest, Token
from hardcast.serve.scheduling.sequence import Sequence
from hardcast.serve.scheduling.stream import Stream
from hardcast.tokenizer import Tokenizer
from tests.serve.asking import Answer, answer_of

PAGE = 64


class Driven:
    """A batch whose steps a test takes, with all that it sent."""

    def __init__(self, image: Image, tokenizer: Tokenizer, **sizes: Any) -> None:
        pages = sizes.pop("pages", None)
        bound = None if pages is None else pages * PAGE
        self.engine = Engine(image, threads=1, kv_positions=bound)
        sizes = {"max_running": 8, "chunk_tokens": 16, "observe": Observer(), **sizes}
        self.batch = Batch(self.engine, **sizes)
        self.tokenizer = tokenizer
        self.arrivals = 0
        self.events: dict[Stream, list[Event]] = {}
        self.slow: set[Stream] = set()  # whose readers do not read
        self.loop = asyncio.new_event_loop()

    def add(self, request: GenerationRequest) -> Sequence:
        self.batch.check_fits(request)
        self.arrivals += 1
        sequence = Sequence(request, Stream(self.loop, lambda: None), self.tokenizer, self.arrivals)
        self.batch.waiting.push(sequence)
        self.events[sequence.stream] = []
        return sequence

    def step(self) -> None:
        self.batch.step()
        for one, event in self.batch.take():
            self.events[one].append(event)
            one.count()
            one._taken += one not in self.slow

    def made(self, sequence: Sequence) -> int:
        """Tokens that were sent of it."""
        return sum(isinstance(event, Token) for event in self.events[sequence.stream])

    def run(self, *sequences: Sequence, until: Callable[[], bool] = lambda: False) -> list[Answer]:
        """Steps until all have ended."""
        for _ in range(5000):
            if until() or not self.batch.everything():
                break
            self.step()
        return [answer_of(self.events[sequence.stream]) for sequence in sequences]

    def empty(self) -> None:
        """Nothing runs, so nothing but the prefixes holds memory."""
        assert not self.batch.everything()
        self.batch.close()
        assert self.engine.kv_use.used_pages == 0
        self.loop.close()
