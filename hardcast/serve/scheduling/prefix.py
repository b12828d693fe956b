"""Prompts that begin alike are run once: a radix tree over pages of keys and values.

A node is a page of tokens, at most `page` of them, and holds a session forked at its end, so its
page (and those before it) stay in memory for as long as it is in the tree. Nodes shorter than a
page have no children. What two sessions ran at the same time exists twice until the later one's
pages are given up. Only the scheduler's thread touches the tree.

Source: Zheng and others, SGLang: Efficient Execution of Structured Language Model Programs
(RadixAttention), NeurIPS 2024.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar


class Forked(Protocol):
    """A context that may be shared (hardcast.engine.Session). fork() copies nothing."""

    def fork(self, length: int) -> Self: ...

    def close(self) -> None: ...


Context = TypeVar("Context", bound=Forked)


@dataclass(eq=False)
class _Node(Generic[Context]):
    key: tuple[int, ...]
    session: Context | None
    parent: _Node[Context] | None
    children: dict[tuple[int, ...], _Node[Context]] = field(default_factory=dict)
    keys: list[tuple[int, ...]] = field(default_factory=list)  # of the children, sorted

    def add(self, child: _Node[Context]) -> None:
        self.children[child.key] = child
        insort(self.keys, child.key)

    def remove(self, child: _Node[Context]) -> None:
        del self.children[child.key]
        del self.keys[bisect_left(self.keys, child.key)]

    def nearest(self, key: tuple[int, ...]) -> tuple[_Node[Context] | None, int]:
        """The child that shares the longest beginning with a key, and how much of it."""
        at = bisect_left(self.keys, key)
        # Of sorted keys the most alike stand beside the place where this one would.
        near = ((self.children[k], common(k, key)) for k in self.keys[max(at - 1, 0) : at + 1])
        return max(near, key=lambda found: found[1], default=(None, 0))


class PrefixCache(Generic[Context]):
    """Contexts of what was run before, the least recently used given up first.

    page: positions of a page. limit: pages that it may hold; evict() makes room earlier.
    """

    def __init__(self, page: int, limit: int) -> None:
        self._page, self._limit = page, limit
        self._root: _Node[Context] = _Node((), None, None)
        # Least recently used first. A path is touched from its end to its root, so whatever stands
        # first has no children: a child would stand before it.
        self._nodes: OrderedDict[_Node[Context], None] = OrderedDict()

    @property
    def pages(self) -> int:
        """Pages held, some of them shared with sessions that run."""
        return len(self._nodes)

    def match(self, tokens: Sequence[int]) -> tuple[Context | None, int]:
        """(session, length): its first `length` positions are the longest known beginning.

        The session stays the cache's: fork it.
        """
        node, length = self._root, 0
        path: list[_Node[Context]] = []
        for key in self._keys(tokens):
            found, same = node.nearest(key)
            if found is None or same == 0:
                break
            node = found
            path.append(node)
            length += same
            if same < self._page:
                break
        self._touch(path)
        return node.session, length

    def insert(self, tokens: Sequence[int], session: Context) -> None:
        """Keeps what a session has run: it holds these tokens, and stays the caller's."""
        node, end = self._root, 0
        path: list[_Node[Context]] = []
        for key in self._keys(tokens):
            end += len(key)
            node = node.children.get(key) or self._child(node, key, end, session)
            path.append(node)
        self._touch(path)
        self.evict(self.pages - self._limit)

    def _child(
        self, node: _Node[Context], key: tuple[int, ...], end: int, session: Context
    ) -> _Node[Context]:
        """The child that has a key which none has as its own."""
        near, same = node.nearest(key)
        if near is not None and same == len(key):
            return near  # it goes on beyond the last of these tokens
        child = _Node(key, session.fork(end), node)
        if near is not None and same == len(near.key):
            self._drop(near)  # less of this page than is known now
        node.add(child)
        self._nodes[child] = None
        return child

    def evict(self, pages: int) -> int:
        """Gives up so many pages, or all that there are; returns how many."""
        given = 0
        while given < pages and self._nodes:
            self._drop(next(iter(self._nodes)))
            given += 1
        return given

    def clear(self) -> None:
        """Gives up everything."""
        self.evict(self.pages)

    def _drop(self, node: _Node[Context]) -> None:
        del self._nodes[node]
        assert node.parent is not None and node.session is not None and not node.children
        node.parent.remove(node)
        node.session.close()

    def _touch(self, path: list[_Node[Context]]) -> None:
        for node in reversed(path):
            self._nodes.move_to_end(node)

    def _keys(self, tokens: Sequence[int]) -> Iterator[tuple[int, ...]]:
        for first in range(0, len(tokens), self._page):
            yield tuple(tokens[first : first + self._page])


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens two texts share."""
    same = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        same += 1
    return same
