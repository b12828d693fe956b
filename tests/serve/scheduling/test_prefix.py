"""The radix tree: the longest known beginning, the oldest pages given up first, nothing leaked."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hardcast.serve.scheduling.prefix import PrefixCache, common

PAGE, LIMIT = 4, 12
TEXTS = st.lists(st.integers(0, 1), min_size=0, max_size=18)


class Context:
    """A session that knows its tokens; `alive` counts those that are open."""

    alive = 0

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)
        self.open = True
        Context.alive += 1

    def fork(self, length: int) -> Context:
        assert self.open and 0 < length <= len(self.tokens)
        return Context(self.tokens[:length])

    def close(self) -> None:
        assert self.open
        self.open = False
        Context.alive -= 1


def tree() -> PrefixCache[Context]:
    return PrefixCache(PAGE, LIMIT)


def said(cache: PrefixCache[Context], text: Sequence[int]) -> None:
    session = Context(text)
    cache.insert(text, session)
    session.close()


class Tree(RuleBasedStateMachine):
    """Against a list of the texts put in: what is found was put in, and is what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = tree()
        self.said: list[list[int]] = []
        self.dropped = False
        Context.alive = 0

    @rule(text=TEXTS)
    def insert(self, text: list[int]) -> None:
        before = self.cache.pages
        said(self.cache, text)
        self.said.append(text)
        self.dropped |= before + -(-len(text) // PAGE) > LIMIT

    @rule(text=TEXTS)
    def match(self, text: list[int]) -> None:
        session, length = self.cache.match(text)
        best = max((common(text, said) for said in self.said), default=0)
        assert length == best if not self.dropped else length <= best
        if length:
            assert isinstance(session, Context) and session.tokens[:length] == text[:length]
            assert session.open and session.fork(length).close() is None
        else:
            assert session is None

    @rule(pages=st.integers(0, 5))
    def evict(self, pages: int) -> None:
        held = self.cache.pages
        assert self.cache.evict(pages) == min(pages, held)
        assert self.cache.pages == held - min(pages, held)
        self.dropped = True

    @invariant()
    def holds_what_it_counts(self) -> None:
        assert Context.alive == self.cache.pages <= LIMIT

    def teardown(self) -> None:
        self.cache.clear()
        assert Context.alive == 0 == self.cache.pages


TestTree = Tree.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_beginning_of_a_page_counts_too() -> None:
    cache = tree()
    said(cache, [1, 2, 3, 4, 5, 6])
    assert cache.match([1, 2, 3, 9])[1] == 3
    assert cache.match([1, 2, 3, 4, 5, 6, 7])[1] == 6
    assert cache.match([9])[1] == 0


def test_what_goes_on_replaces_what_it_goes_on_from() -> None:
    """A conversation takes one unfilled page, not one a turn."""
    cache = tree()
    for end in range(1, 9):
        said(cache, list(range(end)))
        assert cache.pages == -(-end // PAGE)
    said(cache, [0, 1])
    assert cache.pages == 2


def test_the_least_recently_used_goes_first_and_from_its_end() -> None:
    cache = tree()
    said(cache, [1] * 12)
    said(cache, [2] * 8)
    cache.match([1] * 4)  # its first page alone
    cache.evict(2)
    assert cache.match([1] * 12)[1] == 4
    assert cache.match([2] * 8)[1] == 8
    cache.evict(1)
    assert cache.match([1] * 12)[1] == 0


@given(TEXTS, TEXTS)
def test_common_is_the_longest_shared_beginning(one: list[int], other: list[int]) -> None:
    same = common(one, other)
    assert one[:same] == other[:same]
    assert same == min(len(one), len(other)) or one[same] != other[same]
