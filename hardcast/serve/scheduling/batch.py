"""One step of everything that runs: who has a slot, what each runs, the pass, what came out.

A step is one forward_batch: a token of every answer that is being made, so that no prompt however
long stalls them, and beside these at most `chunk_tokens` of prompts, shared fairly. Integers make
an answer the same whatever else is in the batch, so slots, chunks, shared prefixes and preemption
are matters of time alone.

Memory: an answer gets a slot when its prompt fits beside what the others hold now. When memory
runs out later, pages kept for their prefix go first, then the youngest answer loses its slot and is
run again from what is left of it. Reserving all that an answer may come to would need no such
rule, but few say max_tokens, so a context would be reserved for each and most of it never used.
The oldest never loses its slot for memory, so there is always progress; where all memory is less
than the chip's context, an answer that has it all ends as if that were the context.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

import numpy as np

from hardcast.engine import Engine, KvFull, Session
from hardcast.errors import HardcastError
from hardcast.serve.scheduling.fair import Waiting, oldest_and_shortest, shares
from hardcast.serve.scheduling.observe import Observer
from hardcast.serve.scheduling.prefix import PrefixCache, common
from hardcast.serve.scheduling.request import GenerationRequest, Reason
from hardcast.serve.scheduling.sequence import Sequence
from hardcast.serve.scheduling.stream import Sent

WORTH_WAITING = 16  # prompt tokens shared with one that is being run, for which to wait for it
CACHED_CONTEXTS = 4  # contexts that prefixes may hold where memory has no bound
SMOOTHING = 0.1  # of the mean time of an answer, for each that ends

Work = list[tuple[Sequence, int]]  # answers and how many of their pending tokens are run


class Batch:
    """Answers that run, wait or pause. Of one thread."""

    def __init__(
        self, engine: Engine, max_running: int, chunk_tokens: int, observe: Observer
    ) -> None:
        self.engine, self.observe = engine, observe
        self.max_running, self.chunk_tokens = max_running, chunk_tokens
        self.running: list[Sequence] = []  # in the order in which they got their slots
        self.waiting = Waiting()
        self.paused: list[Sequence] = []  # their readers are slow
        self.steps = self.finished = self.preempted = 0
        self.mean_seconds = 1.0  # of an answer
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0
        self.page, self.limit = engine.kv_page, engine.kv_use.limit_pages
        context = engine.image.context
        self.context = context if self.limit is None else min(context, self.limit * self.page)
        bound = self.limit or CACHED_CONTEXTS * self.pages(context)
        self.prefixes: PrefixCache[Session] = PrefixCache(self.page, bound)
        self._events: list[Sent] = []

    def pages(self, positions: int) -> int:
        """Pages that hold so many positions."""
        return -(-positions // self.page)

    def check_fits(self, request: GenerationRequest) -> None:
        """Raises HardcastError for one that memory could not hold even alone."""
        if len(request.prompt_ids) > self.context:
            raise HardcastError(
                f"the prompt has {len(request.prompt_ids)} tokens, the server's memory holds "
                f"{self.context}; shorten it"
            )

    def step(self) -> None:
        """Goes one step on, if anything can. What there is to send of it: take()."""
        begun = time.perf_counter()
        self._drop_cancelled()
        self._resume()
        self._admit()
        self._begin_followers()
        self._pause()
        ran, rows = self._forward(self._plan())
        self._read(ran, rows)
        if ran:
            self.steps += 1
            self.observe.step(time.perf_counter() - begun, sum(count for _, count in ran))

    def take(self) -> list[Sent]:
        """What happened since it was last asked."""
        events, self._events = self._events, []
        return events

    @property
    def idle(self) -> bool:
        """Whether a step would change nothing until something new comes."""
        return not (
            self.running
            or len(self.waiting)
            or any(s.stream.drained or s.stream.cancelled for s in self.paused)
        )

    def everything(self) -> list[Sequence]:
        """All answers that have not ended."""
        return [*self.running, *self.waiting, *self.paused]

    def end(self, sequence: Sequence, reason: Reason, error: str | None = None) -> None:
        """Ends an answer, wherever it is."""
        if sequence in self.running:
            self._leave(sequence, keep=reason != "error")
        elif sequence in self.paused:
            self.paused.remove(sequence)
        else:
            self.waiting.remove(sequence)
        finished = sequence.finish(reason, error)
        self.finished += 1
        if finished.reason in ("stop", "length"):
            self.mean_seconds += SMOOTHING * (finished.seconds - self.mean_seconds)
        self.observe.finished(finished)
        self._events.append((sequence.stream, finished))

    def close(self) -> None:
        """Gives back the memory of prefixes, once everything has ended."""
        self.prefixes.clear()

    # Slots

    def _drop_cancelled(self) -> None:
        for sequence in self.everything():
            if sequence.stream.cancelled:
                self.end(sequence, "cancelled")

    def _resume(self) -> None:
        for sequence in [s for s in self.paused if s.stream.drained]:
            self.paused.remove(sequence)
            sequence.stream.paused = False
            self.waiting.push(sequence)

    def _pause(self) -> None:
        """A slow reader's answer gives up its slot: its memory is then a prefix like others."""
        for sequence in [s for s in self.running if s.stream.full]:
            self._leave(sequence, keep=True)
            sequence.stream.paused = True
            self.paused.append(sequence)

    def _admit(self) -> None:
        counts = Counter(sequence.owner for sequence in self.running)
        while (found := self.waiting.next(counts)) is not None:
            if len(self.running) >= self.max_running:
                most = max(counts, key=counts.__getitem__)
                if counts[most] < counts[found.owner] + 2:
                    break
                self._preempt((s for s in self.running if s.owner == most), keep=True)
                counts[most] -= 1
            if not self._has_room(found):
                break
            self.waiting.take(found)
            self.running.append(found)
            counts[found.owner] += 1
            self._begin(found)
        self.waiting.forget(counts)

    def _has_room(self, sequence: Sequence) -> bool:
        if self.limit is None or not self.running:
            return True
        held = sum(self.pages(len(other.tokens)) for other in self.running)
        return held + self.pages(len(sequence.tokens) + 1) <= self.limit

    def _preempt(self, among: Iterable[Sequence], keep: bool) -> None:
        victim = max(among, key=lambda sequence: sequence.arrival)
        self._leave(victim, keep)
        self.preempted += 1
        self.waiting.push(victim)

    def _leave(self, sequence: Sequence, keep: bool) -> None:
        self.running.remove(sequence)
        sequence.settled, sequence.leader = True, None
        if sequence.session is not None:
            if keep:
                self._keep(sequence)
            sequence.session.close()
            sequence.session = None

    # Prefixes

    def _begin(self, sequence: Sequence) -> None:
        """Gives it a context: what is known of its beginning, unless another is running that."""
        tokens = sequence.tokens
        sequence.settled, sequence.leader = False, None
        session, known = self.prefixes.match(tokens)
        known = min(known, sequence.reusable)
        for other in self.running:
            if other.arrival < sequence.arrival and not other.settled:
                same = min(common(other.tokens, tokens), sequence.reusable)
                if same >= known + WORTH_WAITING:
                    sequence.leader = other
                    return
        sequence.session = session.fork(known) if session and known else self.engine.session()
        if sequence.cached is None:
            sequence.cached = min(known, len(sequence.request.prompt_ids) - 1)
            self.prompt_tokens += len(sequence.request.prompt_ids)
            self.cached_tokens += sequence.cached
            self.observe.admitted(sequence.waited())

    def _begin_followers(self) -> None:
        for sequence in self.running:
            if sequence.session is None and sequence.leader and sequence.leader.settled:
                self._begin(sequence)

    def _keep(self, sequence: Sequence) -> None:
        session = sequence.session
        assert session is not None
        self.prefixes.insert(sequence.tokens[: session.length], session)

    # The pass

    def _plan(self) -> Work:
        """Every answer's next token, and parts of prompts."""
        work = [(s, 1) for s in self.running if s.session is not None and s.pending == 1]
        prompts: dict[str, list[Sequence]] = {}
        for sequence in sorted(self.running, key=lambda s: s.arrival):
            if sequence.session is not None and sequence.pending > 1:
                prompts.setdefault(sequence.owner, []).append(sequence)
        wants = [sum(s.pending for s in group) for group in prompts.values()]
        parts = shares(self.chunk_tokens, wants, self.steps)
        for group, part in zip(prompts.values(), parts, strict=True):
            counts = oldest_and_shortest(part, [s.pending for s in group])
            work += [(s, n) for s, n in zip(group, counts, strict=True) if n]
        return work

    def _forward(self, work: Work) -> tuple[Work, list[np.ndarray]]:
        """Runs the work, or what memory leaves of it: (what was run, logits of each)."""
        before = {s: s.session.length for s, _ in work if s.session}
        while work:
            try:
                return work, self.engine.forward_batch([_part(s, n) for s, n in work])
            except KvFull as error:
                self._make_room(work, error)
                work = [(s, n) for s, n in work if s.session]
            except Exception as error:
                if len(work) == 1:
                    self.end(work[0][0], "error", _words(error))
                    break
                for sequence, _ in work:
                    if sequence.session:
                        sequence.session.truncate(before[sequence])
                return self._each_alone(work)
        return [], []

    def _each_alone(self, work: Work) -> tuple[Work, list[np.ndarray]]:
        """After an error of all together: whose it is ends, the others go on."""
        ran, rows = [], []
        for sequence, count in work:
            if sequence.session:  # else it lost its slot to one before it
                done, row = self._forward([(sequence, count)])
                ran += done
                rows += row
        return ran, rows

    def _make_room(self, work: Work, error: KvFull) -> None:
        """Frees memory for a pass: prefixes, else the youngest's."""
        lengths = [(s.session.length, n) for s, n in work if s.session]
        need = sum(self.pages(length + n) - self.pages(length) for length, n in lengths)
        if self.prefixes.evict(max(need, 1)):
            return
        holding = [s for s in self.running if s.session]
        if len(holding) > 1:
            self._preempt(holding, keep=False)
        else:  # others hold memory of this engine
            self.end(holding[0], "error", str(error))

    def _read(self, ran: Work, rows: list[np.ndarray]) -> None:
        """Chooses a token for each whose pending tokens are run, and sends it."""
        point, made, shaped = self.engine.image.points.logits, [], []
        for (sequence, _), row in zip(ran, rows, strict=True):
            try:
                if scores := sequence.score(row, point):
                    self._events.append((sequence.stream, scores))
                if sequence.pending:
                    continue
                if not sequence.settled:
                    self._keep(sequence)  # others may wait for it
                    sequence.settled = True
                if sequence.request.max_tokens == 0:
                    self.end(sequence, "length")
                    continue
                shaped.append(sequence.shaped(row[-1], point))
                made.append((sequence, row[-1]))
            except Exception as error:
                self.end(sequence, "error", _words(error))
        settings = [sequence.request.settings for sequence, _ in made]
        positions = [len(sequence.tokens) for sequence, _ in made]
        tokens = self.engine.sample_batch(shaped, settings, positions)
        for (sequence, row), token in zip(made, tokens, strict=True):
            since, first = sequence.last_token, sequence.first_token is None
            try:
                event, reason = sequence.accept(token, row, point, self.context)
            except Exception as error:
                self.end(sequence, "error", _words(error))
                continue
            self.completion_tokens += 1
            if first:
                self.observe.first_token(sequence.last_token - sequence.submitted)
            else:
                self.observe.inter_token(sequence.last_token - since)
            if event is not None:
                self._events.append((sequence.stream, event))
            if reason is not None:
                self.end(sequence, reason)


def _words(error: Exception) -> str:
    """What a reader is told: our own errors as they are, a bug by its kind too."""
    return str(error) if isinstance(error, HardcastError) else f"internal error: {error!r:.200}"


def _part(sequence: Sequence, count: int) -> tuple[Session, list[int], str]:
    session = sequence.session
    assert session is not None
    first = session.length
    last = first + count
    wanted = "last" if last == len(sequence.tokens) else "none"
    return session, sequence.tokens[first:last], "all" if sequence.scoring else wanted
