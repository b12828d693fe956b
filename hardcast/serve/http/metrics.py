"""Prometheus metrics of one process, or of all that share a port.

With several processes prometheus_client keeps every number in small files of one folder, named by
PROMETHEUS_MULTIPROC_DIR before this module is first imported; any process then answers for all.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hardcast.serve.scheduling.observe import Observer
from hardcast.serve.scheduling.request import Finished
from hardcast.serve.scheduling.scheduler import Stats

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST
# Seconds. A first token waits for a queue and a prompt; between tokens lies one step.
LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)


class Metrics(Observer):
    """The numbers, and the hooks by which the scheduler moves them."""

    def __init__(self) -> None:
        self._shared = SHARED_FOLDER in os.environ
        self.registry = registry = CollectorRegistry()

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"hardcast_{name}", what, buckets=buckets, registry=registry)

        def counter(name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"hardcast_{name}", what, labels, registry=registry)

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(f"hardcast_{name}", what, registry=registry, multiprocess_mode="livesum")

        self.time_to_first_token = histogram(
            "time_to_first_token_seconds", "From submission to the first token.", LONG
        )
        self.between_tokens = histogram("inter_token_seconds", "Between two tokens.", SHORT)
        self.queue_time = histogram("queue_seconds", "From submission to the first step.", LONG)
        self.answer_time = histogram("answer_seconds", "From submission to the end.", LONG)
        self.step_time = histogram("step_seconds", "Of one step of the chip.", SHORT)
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts.")
        self.cached_tokens = counter("cached_tokens", "Prompt tokens that were in memory already.")
        self.completion_tokens = counter("completion_tokens", "Tokens of answers.")
        self.steps = counter("steps", "Steps of the chip.")
        self.answers = counter("answers", "Answers by how they ended.", ("reason",))
        self.refused = counter("queue_full", "Requests refused because the queue was full.")
        self.requests = counter("http_requests", "Requests by path and status.", ("path", "status"))
        self.running = gauge("running", "Answers being made.")
        self.waiting = gauge("waiting", "Answers that wait.")
        self.kv_used = gauge("kv_used_pages", "Pages of keys and values in use.")
        self.kv_limit = gauge("kv_limit_pages", "Pages there may be; 0: no bound.")

    def admitted(self, queue_seconds: float) -> None:
        """An answer got its first slot."""
        self.queue_time.observe(queue_seconds)

    def first_token(self, seconds: float) -> None:
        """An answer's first token was made."""
        self.time_to_first_token.observe(seconds)

    def inter_token(self, seconds: float) -> None:
        """A further token was made."""
        self.between_tokens.observe(seconds)

    def finished(self, finished: Finished) -> None:
        """An answer ended."""
        self.answer_time.observe(finished.seconds)
        self.prompt_tokens.inc(finished.prompt_tokens)
        self.cached_tokens.inc(finished.cached_tokens)
        self.completion_tokens.inc(finished.completion_tokens)
        self.answers.labels(finished.reason).inc()

    def step(self, seconds: float, tokens: int) -> None:
        """A step was run."""
        self.step_time.observe(seconds)
        self.steps.inc()

    def show(self, stats: Stats) -> None:
        """Sets what is as it is now."""
        self.running.set(stats.running)
        self.waiting.set(stats.waiting)
        self.kv_used.set(stats.kv_used_pages)
        self.kv_limit.set(stats.kv_limit_pages or 0)

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        if not self._shared:
            return generate_latest(self.registry)
        everything = CollectorRegistry()
        multiprocess.MultiProcessCollector(everything)
        return generate_latest(everything)
