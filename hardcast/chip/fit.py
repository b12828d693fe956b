"""How many dies a model needs: none over the reticle, as few as possible, fast for one user."""

from __future__ import annotations

import numpy as np

from hardcast.chip import silicon
from hardcast.chip.blocks import parts
from hardcast.chip.design import Design
from hardcast.chip.estimate import estimate
from hardcast.chip.geometry import ceil_div
from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions, middle

MORE = 1.5  # times the fewest possible dies, and at least one more, that speed may cost


def fit(design: Design, a: Assumptions) -> Design:
    """The design on dies that fit the reticle at the figures' points.

    One die where that is enough. Else every division into stages and, where a stage is too large,
    of each into pieces is a candidate; of those not far above the fewest dies the fastest for one
    user wins. Raises HardcastError where not even one row of tiles of one layer fits.
    """
    most = design.subject.program.shape.num_hidden_layers
    candidates: list[Design] = []
    fewest = 1 << 30
    for stages in range(1, most + 1):
        if stages > _most(fewest):
            break
        pieces = _pieces(design.divided(stages, 1), a)
        if pieces:
            candidates.append(design.divided(stages, pieces))
            fewest = min(fewest, stages * pieces)
            if fewest == 1:
                return candidates[0]
    if not candidates:
        raise HardcastError(
            f"{design.subject.name} on {design.chip.name} in {a.texts['node.name']}: one row of "
            "tiles of one layer is larger than the reticle; choose fewer slices or a denser node"
        )
    near = [d for d in candidates if d.dies <= _most(fewest)]
    return max(near, key=lambda d: middle(estimate(d, a, 0).tokens_s_user))


def _most(fewest: int) -> float:
    """Dies that a division may take."""
    return max(fewest * MORE, fewest + 1)


def _pieces(design: Design, a: Assumptions) -> int:
    """Dies that one stage has to be cut into; 0 where no cut is enough.

    What every piece has of its own makes the stage larger the more pieces there are.
    """
    room = a["node.reticle_width"] * a["node.reticle_height"] - a["node.io_area"]
    most, needed = design.chip.tile_rows, 1
    while True:
        design = design.divided(design.stages, needed)
        found = parts(design, a.texts["node.library"], 0)
        core = sum(silicon.area_mm2(part, a) for part in found) * (1 + a["chip.top_overhead"])
        rows = int(np.floor(middle(room / core) * most))
        if not rows:
            return 0
        needed = ceil_div(most, min(rows, most))
        if needed <= design.pieces:
            return design.pieces
