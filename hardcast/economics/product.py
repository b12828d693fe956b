"""What is made and sold: a system of one or several dies that runs one model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Real


@dataclass(frozen=True, kw_only=True)
class Product:
    """A system that runs one model, as economics sees it. Counts and figures may be samples.

    die_mm2: of one die. power_w: of all dies, working. tokens_s_user: of one user. tokens_s: of
    the system, all its users together. dies: of the system. distinct_dies: with ROM contents of
    their own; each needs a pair of via masks. repairable_share: part of the die that has spares.
    dies_a_card: on one board.
    """

    name: str
    die_mm2: Real
    power_w: Real
    tokens_s_user: Real
    tokens_s: Real
    dies: Real = 1
    distinct_dies: Real = 1
    repairable_share: Real = 0.0
    dies_a_card: Real = 1

    def __post_init__(self) -> None:
        """Raises HardcastError for what no product can be."""
        for name in ("die_mm2", "power_w", "tokens_s_user", "tokens_s"):
            if not np.all(np.asarray(getattr(self, name)) > 0):
                raise HardcastError(f"{self.name}: {name} is not above 0")
        for name in ("dies", "distinct_dies", "dies_a_card"):
            if not np.all(np.asarray(getattr(self, name)) >= 1):
                raise HardcastError(f"{self.name}: {name} is below 1")
        share = np.asarray(self.repairable_share)
        if not np.all((share >= 0) & (share <= 1)):
            raise HardcastError(f"{self.name}: repairable_share is not within 0 and 1")
        if np.any(np.asarray(self.distinct_dies) > self.dies):
            raise HardcastError(f"{self.name}: more distinct_dies than dies")

    @property
    def cards(self) -> Real:
        """Boards of a system."""
        return np.ceil(np.asarray(self.dies) / self.dies_a_card)[()]
