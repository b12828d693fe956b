"""Fair parts: nobody short of his share while another has more, nothing left over, no starving."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.serve.scheduling.fair import Waiting, oldest_and_shortest, shares

WANTS = st.lists(st.integers(0, 50), max_size=8)


@settings(max_examples=400)
@given(st.integers(0, 120), WANTS, st.integers(0, 20))
def test_shares_are_max_min_fair(budget: int, wants: list[int], first: int) -> None:
    given_ = shares(budget, wants, first)
    assert sum(given_) == min(budget, sum(wants))
    assert all(0 <= part <= want for part, want in zip(given_, wants, strict=True))
    short = [part for part, want in zip(given_, wants, strict=True) if part < want]
    # Whoever gets less than he wants gets no less than any other, but for one odd token.
    assert all(part >= max(given_) - 1 for part in short)


def test_the_odd_token_goes_round() -> None:
    total = [sum(parts) for parts in zip(*(shares(4, [9, 9, 9], i) for i in range(3)), strict=True)]
    assert total == [4, 4, 4]


@settings(max_examples=400)
@given(st.integers(0, 120), st.lists(st.integers(0, 50), min_size=1, max_size=8))
def test_the_oldest_gets_half_and_the_shortest_the_rest(budget: int, wants: list[int]) -> None:
    given_ = oldest_and_shortest(budget, wants)
    assert sum(given_) == min(budget, sum(wants))
    assert all(0 <= part <= want for part, want in zip(given_, wants, strict=True))
    assert given_[0] >= min(wants[0], budget // 2)
    for part, want in zip(given_[1:], wants[1:], strict=True):
        if part < want:  # then nothing is left for a longer one
            longer = [p for p, w in zip(given_[1:], wants[1:], strict=True) if w > want]
            assert not any(longer)


def item(owner: str, arrival: int) -> Any:
    return SimpleNamespace(owner=owner, arrival=arrival)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), min_size=1, max_size=40),
    st.integers(1, 6),
)
def test_no_owner_waits_while_another_has_two_more(
    asked: list[tuple[str, int]], slots: int
) -> None:
    """Answers of any length take slots as they get free."""
    waiting = Waiting()
    for arrival, (owner, _) in enumerate(asked):
        waiting.push(item(owner, arrival))
    left = {arrival: seconds for arrival, (_, seconds) in enumerate(asked)}
    running: list[Any] = []
    order: dict[str, list[int]] = {}
    while waiting or running:
        counts = Counter(one.owner for one in running)
        while len(running) < slots and (found := waiting.next(counts)) is not None:
            assert counts[found.owner] == min(counts[one.owner] for one in waiting)
            waiting.take(found)
            running.append(found)
            counts[found.owner] += 1
            order.setdefault(found.owner, []).append(found.arrival)
        for one in running:
            left[one.arrival] -= 1
        running = [one for one in running if left[one.arrival]]
        waiting.forget(Counter(one.owner for one in running))
    assert all(arrivals == sorted(arrivals) for arrivals in order.values())
    assert sum(map(len, order.values())) == len(asked)


def test_owners_take_turns_at_one_slot() -> None:
    """However much one queued before the other came."""
    waiting = Waiting()
    for arrival in range(6):
        waiting.push(item("many", arrival))
    turns = []
    for arrival in range(6, 9):
        waiting.push(item("few", arrival))
    while (found := waiting.next({})) is not None:
        waiting.take(found)
        turns.append(found.owner)
    assert turns == ["many", "few", "many", "few", "many", "few", "many", "many", "many"]


def test_who_had_a_slot_before_comes_before_those_after_him() -> None:
    waiting = Waiting()
    for arrival in (3, 1, 2):
        waiting.push(item("a", arrival))
    first = waiting.next({})
    assert first is not None and first.arrival == 1
    waiting.remove(first)
    assert [one.arrival for one in waiting] == [2, 3]
