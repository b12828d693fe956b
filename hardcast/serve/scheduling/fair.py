"""Who is next, and how much of a step: fair between owners, by rules short enough to prove.

Slots: the waiting owner with the fewest running answers comes next, of equals the one whose last
turn is longest ago. So with k owners who always have work, none waits while another has two more.
Prompt tokens of a step: max-min fair between owners (`shares`), so an owner gets budget / k or all
that it wants. Within an owner half goes to the oldest prompt and the rest to the shortest first:
the oldest never starves, and a short one need not wait behind a long one.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Items
from operator import attrgetter

from hardcast.serve.scheduling.sequence import Sequence


class Waiting:
    """Answers that have no slot, by owner, the oldest first."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Sequence]] = {}
        self._turns: dict[str, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for queue in self._queues.values() for sequence in queue)

    def push(self, sequence: Sequence) -> None:
        """Queues it: before those that came later, if it had a slot before."""
        insort(self._queues.setdefault(sequence.owner, []), sequence, key=attrgetter("arrival"))

    def next(self, running: Mapping[str, int]) -> Sequence | None:
        """Whose turn it is. running: slots of each owner."""
        owners = self._queues
        if not owners:
            return None
        best = min(owners, key=lambda owner: (running.get(owner, 0), self._turns.get(owner, 0)))
        return owners[best][0]

    def take(self, sequence: Sequence) -> None:
        """Takes it out for its turn."""
        self.remove(sequence)
        self._turn += 1
        self._turns[sequence.owner] = self._turn

    def remove(self, sequence: Sequence) -> None:
        """Takes it out."""
        queue = self._queues[sequence.owner]
        queue.remove(sequence)
        if not queue:
            del self._queues[sequence.owner]

    def forget(self, running: Mapping[str, int]) -> None:
        """Forgets the turns of owners that are gone."""
        gone = [o for o in self._turns if o not in running and o not in self._queues]
        for owner in gone:
            del self._turns[owner]


def shares(budget: int, wants: Items[int], first: int = 0) -> list[int]:
    """Max-min fair parts of a budget: nobody gets more than he wants, the rest is shared evenly.

    first: who gets the odd ones; pass another each time.
    """
    given = [0] * len(wants)
    left = [(first + i) % len(wants) for i in range(len(wants))]
    left = [i for i in left if wants[i] > 0]
    while budget and left:
        each = max(budget // len(left), 1)
        for i in left:
            part = min(each, wants[i] - given[i], budget)
            given[i] += part
            budget -= part
        left = [i for i in left if given[i] < wants[i]]
    return given


def oldest_and_shortest(budget: int, wants: Items[int]) -> list[int]:
    """Parts of an owner's budget: half to its oldest prompt, then by length.

    wants: of at least one prompt, the oldest first.
    """
    given = [0] * len(wants)
    for i, most in ((0, (budget + 1) // 2), *((i, budget) for i in _by(wants))):
        part = min(wants[i] - given[i], most, budget)
        given[i] += part
        budget -= part
    return given


def _by(wants: Items[int]) -> list[int]:
    return sorted(range(len(wants)), key=wants.__getitem__)
