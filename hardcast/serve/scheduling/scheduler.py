"""The scheduler: one thread that owns the engine, answers requests together, and streams them.

    scheduler = Scheduler(image, engine, tokenizer)
    scheduler.start()
    stream = scheduler.submit(request, asyncio.get_running_loop())
    async for event in stream: ...          # Token, Token, ..., Finished
    scheduler.stop(drain_seconds=30)

What a step does is in batch.py, who comes next in fair.py. An answer equals that of
hardcast.generate.Generator to the same request alone, bit for bit.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace

from hardcast.engine import Engine
from hardcast.image import Image
from hardcast.serve.scheduling.batch import Batch
from hardcast.serve.scheduling.observe import Observer
from hardcast.serve.scheduling.request import Draining, GenerationRequest, QueueFull, Reason
from hardcast.serve.scheduling.sequence import Sequence
from hardcast.serve.scheduling.stream import Stream, send
from hardcast.tokenizer import Tokenizer

__all__ = ["Observer", "Scheduler", "Stats", "Stream"]

log = logging.getLogger(__name__)
MOST_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Stats:
    """What the scheduler has and has done. waiting: without a slot, slow readers' included.

    kv_limit_pages: None for no bound. cached_pages: of kv_used_pages, kept for their prefix.
    alive: whether its thread runs.
    """

    running: int = 0
    waiting: int = 0
    kv_used_pages: int = 0
    kv_limit_pages: int | None = None
    cached_pages: int = 0
    prompt_tokens_total: int = 0
    cached_tokens_total: int = 0
    completion_tokens_total: int = 0
    finished_total: int = 0
    preempted_total: int = 0
    steps: int = 0
    alive: bool = False


class Scheduler:
    """Continuous batching over one engine, which nobody else may use meanwhile.

    max_running: answers in a step. queue_limit: answers that wait for a slot. chunk_tokens: prompt
    tokens in a step beside the answers. observe: hooks for metrics.
    """

    def __init__(
        self,
        image: Image,
        engine: Engine,
        tokenizer: Tokenizer,
        *,
        max_running: int = 64,
        queue_limit: int = 256,
        chunk_tokens: int = 128,
        observe: Observer | None = None,
    ) -> None:
        self.image, self.engine, self.tokenizer = image, engine, tokenizer
        self._batch = Batch(engine, max_running, chunk_tokens, observe or Observer())
        self._queue_limit = queue_limit
        self._work = threading.Condition()  # guards what follows
        self._incoming: list[Sequence] = []
        self._queued: Counter[str] = Counter()  # answers without a slot, by owner
        self._arrivals = 0
        self._deadline: float | None = None  # of those that drain
        self._stats = Stats()
        self._thread = threading.Thread(target=self._run, name="hardcast-scheduler", daemon=True)

    def start(self) -> None:
        """Begins to answer. Once."""
        self._thread.start()

    def stop(self, drain_seconds: float) -> None:
        """Takes nothing new, finishes what it has, and after so long cancels what is left."""
        with self._work:
            self._deadline = time.monotonic() + drain_seconds
            self._work.notify()
        self._thread.join()

    def submit(self, request: GenerationRequest, loop: asyncio.AbstractEventLoop) -> Stream:
        """Queues a request; its events come to `loop`. From any thread.

        Raises HardcastError for what cannot be answered, QueueFull for no room to wait, and of
        these Draining after stop().
        """
        request.check(self.image)
        self._batch.check_fits(request)
        stream = Stream(loop, self._wake)
        with self._work:
            if self._deadline is not None or not self._thread.is_alive():
                raise Draining(MOST_RETRY_SECONDS)
            self._check_queue(request.owner)
            self._arrivals += 1
            self._incoming.append(Sequence(request, stream, self.tokenizer, self._arrivals))
            self._work.notify()
        return stream

    def stats(self) -> Stats:
        """As of the last step. From any thread."""
        with self._work:
            waiting = self._queued.total() + len(self._incoming)
            return replace(self._stats, waiting=waiting, alive=self._thread.is_alive())

    def _check_queue(self, owner: str) -> None:
        """Refuses who has his share of a full queue: one owner cannot lock out the others."""
        queued = self._queued + Counter(sequence.owner for sequence in self._incoming)
        room = self._queue_limit + self._batch.max_running - self._stats.running
        if queued.total() >= room and queued[owner] >= room // len({*queued, owner}):
            seconds = queued.total() * self._batch.mean_seconds / self._batch.max_running
            raise QueueFull(min(max(math.ceil(seconds), 1), MOST_RETRY_SECONDS))

    def _wake(self) -> None:
        with self._work:
            self._work.notify()

    def _run(self) -> None:
        batch = self._batch
        while self._take():
            try:
                batch.step()
            except Exception as error:  # a bug of ours: whoever waits must hear of it
                log.exception("a step failed; all answers end")
                self._end_all("error", f"internal error: {error!r:.200}")
            self._publish()
            send(batch.take())
        batch.close()

    def _take(self) -> bool:
        """Waits for work and takes what came; False when there is none and none will come."""
        batch = self._batch
        with self._work:
            while True:
                left = None if self._deadline is None else self._deadline - time.monotonic()
                expired = left is not None and left <= 0
                if self._incoming or not batch.idle or (expired and batch.paused):
                    break
                if left is not None and not batch.paused:
                    return False
                self._work.wait(left)
            incoming, self._incoming = self._incoming, []
            self._queued.update(sequence.owner for sequence in incoming)
        for sequence in incoming:
            batch.waiting.push(sequence)
        if expired:
            self._end_all("cancelled", None)
        return True

    def _end_all(self, reason: Reason, error: str | None) -> None:
        for sequence in self._batch.everything():
            self._batch.end(sequence, reason, error)

    def _publish(self) -> None:
        batch, use = self._batch, self.engine.kv_use
        stats = Stats(
            running=len(batch.running),
            kv_used_pages=use.used_pages,
            kv_limit_pages=use.limit_pages,
            cached_pages=batch.prefixes.pages,
            prompt_tokens_total=batch.prompt_tokens,
            cached_tokens_total=batch.cached_tokens,
            completion_tokens_total=batch.completion_tokens,
            finished_total=batch.finished,
            preempted_total=batch.preempted,
            steps=batch.steps,
        )
        queued = Counter(sequence.owner for sequence in (*batch.waiting, *batch.paused))
        with self._work:
            self._stats, self._queued = stats, queued
