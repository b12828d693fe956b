"""The text that calibrated rounding runs: the packaged one, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from hardcast.errors import HardcastError
from hardcast.text import read_text

WINDOW = 512  # tokens that see each other, fewer on a chip with less context
MOST_TOKENS = 8192  # taken, spread over the text
LEAST_TOKENS = 2048
PACKAGED = "calibration.txt"


def read(path: Path | None) -> str:
    """The text at `path`, or the packaged one. Raises HardcastError unless it is UTF-8."""
    if path is None:
        return resources.files(__package__).joinpath(PACKAGED).read_text("utf-8")
    try:
        return read_text(path)
    except OSError as error:
        raise HardcastError(f"{path}: {error.strerror}") from None


def windows(
    token_ids: Sequence[int], context: int, bos_id: int | None, source: str, most: int = MOST_TOKENS
) -> np.ndarray:
    """Windows spread evenly over a text: int64[windows, tokens].

    context: of the chip. bos_id: begins every window where the tokenizer adds one.
    source: what errors call the text.
    Raises HardcastError for a text of fewer than LEAST_TOKENS tokens.
    """
    begin = [] if bos_id is None else [bos_id]
    size = min(WINDOW, context)
    step = size - len(begin)
    if len(token_ids) < LEAST_TOKENS or step < 1:
        raise HardcastError(
            f"{source}: {len(token_ids)} tokens are too short to calibrate with; "
            f"give at least {LEAST_TOKENS}, better {most}"
        )
    there = len(token_ids) // step
    count = min(there, max(most // size, 1))
    starts = [step * (i * there // count) for i in range(count)]
    return np.array([begin + list(token_ids[s : s + step]) for s in starts], np.int64)
