"""The RTL's users beside their sessions of golden: one run at a time, every figure compared."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.errors import HardcastError
from hardcast.numerics.sampling import SamplerSettings
from hardcast.simulate.session import RtlChip


class Difference(Exception):
    """The RTL and what it is held against part ways: which run, and how."""


@dataclass
class User:
    """One user of the chip. made: tokens that came out, the same from RTL and golden."""

    prompt: list[int]
    settings: SamplerSettings
    made: list[int] = field(default_factory=list)
    position: int = 0

    @property
    def next_token(self) -> int:
        """What goes into the chip now."""
        text = [*self.prompt, *self.made]
        return text[self.position]


@dataclass(frozen=True)
class Run:
    """cycles: the chip's counter; predicted: the cycle model's."""

    cycles: int
    predicted: int


class Lockstep:
    """Steps the chip and, for each user, a session of `executor`; compares after every run."""

    def __init__(
        self,
        rtl: RtlChip,
        executor: Any,
        users: list[User],
        report: int,
        ends: Collection[int] = (),
    ) -> None:
        self.rtl, self.executor, self.users, self.report = rtl, executor, users, report
        self.ends = ends
        self.sessions = [executor.session() for _ in users]
        self.runs: list[Run] = []
        found = rtl.digest
        if found != rtl.design.image.digest:
            raise Difference(f"the chip's ID registers say {found}")
        for number, user in enumerate(users):
            rtl.settings(number, user.settings, report)

    def waiting(self, max_tokens: int) -> list[int]:
        """Users who still have tokens to read or make."""
        return [
            i
            for i, user in enumerate(self.users)
            if len(user.made) < max_tokens and not set(user.made[-1:]) & set(self.ends)
        ]

    def step(self, max_tokens: int) -> None:
        """One run of the chip. Raises Difference."""
        active = self.waiting(max_tokens)
        speaks = [i for i in active if self.users[i].position >= len(self.users[i].prompt) - 1]
        tokens = [user.next_token if i in active else None for i, user in enumerate(self.users)]
        positions = [self.users[i].position for i in active]
        outcome = self.rtl.run(tokens, logits=bool(speaks))
        model = self.rtl.design.model.token(
            positions,
            logits=bool(speaks),
            settings=[self.users[i].settings for i in active],
            report=[self.report] * len(active),
        )
        where = f"run {len(self.runs)} (positions {', '.join(map(str, positions))})"
        if outcome.cycles != model.total or outcome.by_kind != model.by_kind:
            raise Difference(
                f"{where}: {outcome.cycles} cycles {outcome.by_kind}, the cycle model says "
                f"{model.total} {model.by_kind}"
            )
        for i in active:
            self._compare(where, i, i in speaks, outcome.tokens[i], outcome.top[i])
        self.runs.append(Run(outcome.cycles, model.total))

    def _compare(
        self, where: str, i: int, speaks: bool, token: int, top: list[tuple[int, int]]
    ) -> None:
        user = self.users[i]
        wanted = "last" if speaks else "none"
        logits = self.sessions[i].forward([user.next_token], wanted)
        user.position += 1
        if not speaks:
            return
        row = logits[0]
        kept = min(user.settings.candidates or self.report, len(row))
        order = np.lexsort((np.arange(len(row)), -row.astype(np.int64)))[:kept]
        expected = [(int(j), int(row[j])) for j in order]
        if top != expected:
            first = next(n for n, (a, b) in enumerate(zip(top, expected, strict=True)) if a != b)
            raise Difference(
                f"{where}, user {i}: logit {first} is {top[first]}, expected {expected[first]}"
            )
        best = self.executor.sample(row, user.settings, user.position)
        if token != best:
            raise Difference(f"{where}, user {i}: token {token}, expected {best}")
        user.made.append(token)

    def save(self, path: Path) -> None:
        """The chip's state, and beside it (FILE.json) how far every user is."""
        self.rtl.simulator.save(path)
        notes = {
            "key": self._key(),
            "users": [{"made": u.made, "position": u.position} for u in self.users],
            "runs": [[run.cycles, run.predicted] for run in self.runs],
        }
        aside = path.with_name(path.name + ".json.partial")
        aside.write_text(json.dumps(notes))
        os.replace(aside, path.with_name(path.name + ".json"))

    def resume(self, path: Path) -> None:
        """Goes on from save(), if it was made by the same image, chip and prompts."""
        notes_path = path.with_name(path.name + ".json")
        if not path.is_file() or not notes_path.is_file():
            return
        try:
            notes = json.loads(notes_path.read_text())
            same = notes["key"] == self._key()
        except (ValueError, KeyError, TypeError):
            same = False
        if not same:
            raise HardcastError(f"{path} is of another image, chip or prompt; remove it")
        self.rtl.simulator.restore(path)
        self.runs = [Run(*pair) for pair in notes["runs"]]
        for user, session, entry in zip(self.users, self.sessions, notes["users"], strict=True):
            user.made, user.position = entry["made"], entry["position"]
            session.forward([*user.prompt, *user.made][: user.position], "none")

    def _key(self) -> list[Any]:
        chip = self.rtl.design.geometry.chip
        prompts = [[u.prompt, list(vars(u.settings).values())] for u in self.users]
        return [self.rtl.design.image.digest, chip.to_json(), self.report, prompts]
