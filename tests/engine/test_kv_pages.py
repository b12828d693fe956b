"""Paged KV memory: sessions that share pages compute what fresh ones do; every page is counted."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.engine import Engine, KvFull, KvUse, Session
from hardcast.engine.engine import CHUNK, KV_PAGE
from hardcast.errors import HardcastError
from hardcast.image import Image
from tests.random_image import config, write_random_image

VOCAB = 61
EDGES = [0, 1, 2, 62, 63, 64, 65, 66, 126, 127, 128, 129, 130]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    model = config(hidden_size=32, intermediate_size=64, head_dim=16, vocab_size=VOCAB)
    return write_random_image(tmp_path_factory.mktemp("pages") / "image", model, context=600)


@pytest.fixture(scope="module")
def plain(image: Image) -> Engine:
    """No bound, fresh sessions only: what the others are held against."""
    return Engine(image, 1)


def text(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCAB, count).tolist()


@dataclass
class Modelled:
    """A session beside its text and its pages, as plain objects."""

    session: Session
    tokens: list[int] = field(default_factory=list)
    pages: list[object] = field(default_factory=list)


class Sessions:
    """Sessions of one engine, with a model of which pages they hold."""

    def __init__(self, engine: Engine, plain: Engine) -> None:
        self.engine, self.plain = engine, plain
        self.all = [Modelled(engine.session())]

    def used(self) -> int:
        return len({id(page) for one in self.all for page in one.pages})

    def after(self, work: list[tuple[Modelled, list[int]]]) -> list[list[object]]:
        """Pages of each session of `work` once it holds its new tokens."""
        holders = Counter(id(page) for one in self.all for page in one.pages)
        result = []
        for one, new in work:
            pages, at = list(one.pages), len(one.tokens)
            if new and at % KV_PAGE and holders[id(pages[-1])] > 1:
                holders[id(pages[-1])] -= 1
                pages[-1] = object()
            while len(pages) * KV_PAGE < at + len(new):
                pages.append(object())
            result.append(pages)
        return result

    def forward(self, work: list[tuple[Modelled, list[int]]]) -> None:
        pages = self.after(work)
        old = {id(page) for one in self.all for page in one.pages}
        fresh = sum(id(page) not in old for part in pages for page in part)
        limit = self.engine.kv_use.limit_pages
        call = [(one.session, new, "last") for one, new in work]
        if limit is not None and self.used() + fresh > limit:
            with pytest.raises(KvFull, match="KV memory is full"):
                self.engine.forward_batch(call)
            return
        found = self.engine.forward_batch(call)
        for (one, new), part, rows in zip(work, pages, found, strict=True):
            one.tokens, one.pages = one.tokens + new, part
            if new:
                expected = self.plain.session().forward(one.tokens)
                np.testing.assert_array_equal(rows, expected)

    def apply(self, operation: str, index: int, part: list[int]) -> None:
        one = self.all[index % len(self.all)]
        short = min(len(part), len(one.tokens))
        del part[400 - len(one.tokens) :]
        match operation:
            case "forward":
                self.forward([(one, part)])
            case "batch":
                others = [(other, part[: index % 4]) for other in self.all if other is not one]
                self.forward([(one, part), *others])
            case "fork":
                length = len(one.tokens) - short if index % 2 else short
                pages = one.pages[: -(-length // KV_PAGE)]
                self.all.append(Modelled(one.session.fork(length), one.tokens[:length], pages))
            case "truncate":
                one.session.truncate(short)
                del one.tokens[short:], one.pages[-(-short // KV_PAGE) :]
            case "close":
                one.session.close()
                self.all.remove(one)
            case "forget":  # the last reference goes with this call's
                self.all.remove(one)
        self.all = self.all or [Modelled(self.engine.session())]

    def check(self) -> None:
        assert self.engine.kv_use.used_pages == self.used()
        assert [one.session.length for one in self.all] == [len(one.tokens) for one in self.all]


COUNTS = st.one_of(st.integers(0, 5), st.integers(58, 70), st.integers(120, 130))


@settings(max_examples=60, deadline=None)
@given(
    operations=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "forward",
                    "forward",
                    "fork",
                    "fork",
                    "batch",
                    "batch",
                    "truncate",
                    "close",
                    "forget",
                ]
            ),
            st.integers(0, 7),
            COUNTS,
        ),
        min_size=4,
        max_size=25,
    ),
    limit=st.sampled_from([None, 2, 5, 9]),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**32 - 1),
)
def test_interleavings(
    image: Image,
    plain: Engine,
    operations: list[tuple[str, int, int]],
    limit: int | None,
    threads: int,
    seed: int,
) -> None:
    """Any order of appends, forks, truncations and ends: logits of fresh sessions, exact counts."""
    engine = Engine(image, threads, kv_positions=None if limit is None else limit * KV_PAGE)
    sessions = Sessions(engine, plain)
    new = text(seed, 150 * 25)
    for operation, index, count in operations:
        sessions.apply(operation, index, [new.pop() for _ in range(count)])
        sessions.check()
    sessions.all.clear()
    assert engine.kv_use.used_pages == 0


@pytest.mark.parametrize("length", EDGES)
def test_forks_at_page_edges(image: Image, plain: Engine, length: int) -> None:
    """Both go on from a shared page, in either order and in one batch."""
    tokens = text(1, 130)
    for order in ("parent", "child", "batch"):
        engine = Engine(image, 2)
        parent = engine.session()
        parent.forward(tokens, "none")
        child = parent.fork(length)
        assert (child.length, parent.length) == (length, 130)
        assert engine.kv_use.used_pages == 3
        ends = {parent: [7, 8, 9], child: [5] * 70}
        if order == "batch":
            rows = engine.forward_batch([(s, end, "all") for s, end in ends.items()])
        else:
            first, second = (parent, child) if order == "parent" else (child, parent)
            found = {s: s.forward(ends[s], "all") for s in (first, second)}
            rows = [found[parent], found[child]]
        for got, kept, end in zip(rows, (130, length), ends.values(), strict=True):
            expected = plain.session().forward(tokens[:kept] + end, "all")[kept:]
            np.testing.assert_array_equal(got, expected, order)


def test_a_batch_of_forks_takes_what_it_needs_and_no_page_more(image: Image, plain: Engine) -> None:
    """Six that share a part-filled page: five copies, the sixth keeps the page itself."""
    tokens = text(2, 70)

    def opened(pages: int) -> list[Session]:
        engine = Engine(image, 1, kv_positions=pages * KV_PAGE)
        parent = engine.session()
        parent.forward(tokens, "none")
        return [parent, *(parent.fork(70) for _ in range(5))]

    family = opened(7)
    work = [(s, [i], "last") for i, s in enumerate(family)]
    rows = family[0].engine.forward_batch(work)
    assert family[0].engine.kv_use.used_pages == 7
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row, plain.session().forward([*tokens, i]))

    family = opened(6)
    engine = family[0].engine
    work = [(s, [i], "last") for i, s in enumerate(family)]
    before = engine.kv_use
    with pytest.raises(KvFull, match="5 more pages of 64 positions needed, 4 of 6 free; close"):
        engine.forward_batch(work)
    assert [s.length for s in family] == [70] * 6
    assert engine.kv_use == before
    family.pop().close()
    for i, row in enumerate(engine.forward_batch(work[:5])):
        np.testing.assert_array_equal(row, plain.session().forward([*tokens, i]))


def test_a_copy_leaves_with_the_last_other_holder(image: Image) -> None:
    """Where the parent is gone, its fork writes on in the page that they shared."""
    engine = Engine(image, 1, kv_positions=2 * KV_PAGE)
    parent = engine.session()
    parent.forward(text(3, 100), "none")
    child = parent.fork(90)
    with pytest.raises(KvFull, match="1 more page of 64 positions needed, 0 of 2 free"):
        child.forward([1])
    parent.close()
    child.forward([1])
    assert (child.length, engine.kv_use.used_pages) == (91, 2)


def test_a_prompt_longer_than_a_native_call_fits_whole_or_not_at_all(image: Image) -> None:
    engine = Engine(image, 1, kv_positions=8 * KV_PAGE + 63)
    assert engine.kv_use == KvUse(0, 8, 0)
    session, other = engine.session(), engine.session()
    tokens = text(4, 8 * KV_PAGE)
    assert len(tokens) > CHUNK
    with pytest.raises(KvFull, match="9 more pages"):
        engine.forward_batch([(session, tokens, "none"), (other, [1], "last")])
    assert (session.length, other.length, engine.kv_use.used_pages) == (0, 0, 0)
    session.forward(tokens, "none")
    assert (session.length, engine.kv_use.used_pages) == (len(tokens), 8)
    with pytest.raises(HardcastError, match="more kv_positions"):
        session.forward([1])
    assert session.length == len(tokens)


def test_pages_go_back_and_are_used_again(image: Image) -> None:
    engine = Engine(image, 1)
    held = []
    for _ in range(4):
        sessions = [engine.session() for _ in range(6)]
        for i, session in enumerate(sessions):
            session.forward(text(i, 200), "none")
        assert engine.kv_use.used_pages == 24
        held.append(engine.kv_use.bytes)
        sessions[0].truncate(129)
        assert engine.kv_use.used_pages == 23
        sessions[0].truncate(128)
        assert engine.kv_use.used_pages == 22
        sessions[0].close()
        sessions[0].close()  # once more does nothing
        assert engine.kv_use.used_pages == 20
        del sessions, session
        gc.collect()
        assert engine.kv_use.used_pages == 0
        assert engine.kv_use.bytes < held[0]  # some are kept, most given back
    assert len(set(held)) == 1


def test_pages_outlive_their_engine(image: Image) -> None:
    """Python may collect an engine before the last of its sessions."""
    session = Engine(image, 1).session()
    session.forward(text(7, 70), "none")
    cache = session.cache
    del session
    gc.collect()
    fork = cache.fork(70)
    cache.close()
    assert fork.length == 70


def test_refusals(image: Image) -> None:
    engine = Engine(image, 1)
    session = engine.session()
    session.forward([1, 2, 3])
    for length in (-1, 4):
        with pytest.raises(ValueError, match=f"cannot fork 3 positions at {length}"):
            session.fork(length)
        with pytest.raises(ValueError, match=f"cannot truncate 3 positions to {length}"):
            session.truncate(length)
    with pytest.raises(ValueError, match="a session of another engine"):
        Engine(image, 1).forward_batch([(session, [1], "last")])
    other = engine.session()
    session.close()
    for use in (
        lambda: session.forward([1]),
        lambda: engine.forward_batch([(other, [1], "last"), (session, [1], "last")]),
        lambda: engine.forward_batch([(other, [1] * 300, "last"), (session, [1], "last")]),
        lambda: session.fork(0),
        lambda: session.truncate(0),
    ):
        with pytest.raises(ValueError, match="the session is closed"):
            use()
    assert (other.length, engine.kv_use.used_pages) == (0, 0)
    other.forward([1])
    with pytest.raises(HardcastError, match="kv_positions 63 is less than a page of 64"):
        Engine(image, 1, kv_positions=63)


def test_sessions_end_on_any_thread(image: Image, plain: Engine) -> None:
    """Forks are closed and collected elsewhere while their parent computes."""
    engine = Engine(image, 1)
    parent = engine.session()
    tokens = text(5, 100)
    parent.forward(tokens, "none")
    forks = [parent.fork(70 + i % 30) for i in range(400)]

    def end() -> None:
        while forks:
            fork = forks.pop()
            if len(forks) % 2:
                fork.close()
            del fork

    enders = [threading.Thread(target=end) for _ in range(2)]
    for ender in enders:
        ender.start()
    for i in range(100):
        kept = 60 + i % 40
        parent.truncate(kept)
        new = [i % VOCAB, *tokens[kept + 1 :]]
        expected = plain.session().forward(tokens[:kept] + new)
        np.testing.assert_array_equal(parent.forward(new), expected)
        parent.truncate(kept)
        parent.forward(tokens[kept:], "none")
    for ender in enders:
        ender.join()
    assert engine.kv_use.used_pages == 2
    parent.close()
    assert engine.kv_use.used_pages == 0


def test_a_session_in_a_pass_is_left_alone(image: Image) -> None:
    """Another thread that would change it is refused, and the pass goes on."""
    engine = Engine(image, 1)
    session = engine.session()
    stop = threading.Event()
    lengths = []

    def work() -> None:
        while not stop.is_set():
            session.forward(text(6, 250), "none")
            lengths.append(session.length)
            session.truncate(0)

    worker = threading.Thread(target=work)
    worker.start()
    end, refused = time.monotonic() + 30, False
    while not refused and time.monotonic() < end:
        try:
            session.fork(0)
        except RuntimeError as error:
            refused = str(error) == "the session is in a forward pass"
    stop.set()
    worker.join()
    assert refused
    assert set(lengths) == {250}
