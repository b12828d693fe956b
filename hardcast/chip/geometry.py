"""How a model lies on a chip: sizes of memories and pipelines, and where a head's channels go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardcast.chip.parameters import BLOCK, Chip
from hardcast.errors import HardcastError
from hardcast.program.program import Shape

FINE = 128  # positions a coarse step of the sin/cos ROM


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


def log_ceil(n: int, base: int) -> int:
    """Levels of a tree of `base`-input nodes over n leaves: 0 for one leaf."""
    levels = 0
    while n > 1:
        n, levels = ceil_div(n, base), levels + 1
    return levels


@dataclass(frozen=True)
class Geometry:
    """A chip's sizes for one model. A word is TR values, what the spine handles a cycle.

    Raises HardcastError where the chip's lanes don't divide the model.
    """

    chip: Chip
    shape: Shape

    def __post_init__(self) -> None:
        chip, shape = self.chip, self.shape
        half, lanes = shape.head_dim // 2, chip.tile_rows
        if half % lanes and (half & (half - 1) or half > lanes):
            raise HardcastError(
                f"chip {chip.name}: {lanes} tile rows do not divide head_dim / 2 = {half}; "
                "choose tile_rows that divide it, or more of them if it is a power of two"
            )
        if lanes > BLOCK and chip.slices % (lanes // BLOCK):
            raise HardcastError(
                f"chip {chip.name}: {lanes} lanes finish {lanes // BLOCK} blocks a cycle, "
                f"which do not divide its {chip.slices} slices"
            )

    @property
    def half(self) -> int:
        """Pairs of channels that RoPE rotates: head_dim / 2."""
        return self.shape.head_dim // 2

    @property
    def heads_a_pair(self) -> int:
        """Heads side by side in a word of first halves and the word of second halves after it."""
        return max(self.chip.tile_rows // self.half, 1)

    @property
    def head_lanes(self) -> int:
        """Lanes of a word that belong to one head."""
        return min(self.chip.tile_rows, self.half)

    @property
    def head_words(self) -> int:
        """Words over which a head's channels lie."""
        return self.shape.head_dim // self.head_lanes

    @property
    def head_sum_lanes(self) -> int:
        """Lanes of a word that belong to one block of HEAD_NORM's squares."""
        return min(self.head_lanes, BLOCK)

    @property
    def head_sum_words(self) -> int:
        """Words of a block of HEAD_NORM's squares: a head, or 64 channels of a longer one."""
        return self.head_words if self.shape.head_dim <= BLOCK else BLOCK // self.head_sum_lanes

    @property
    def head_read_words(self) -> int:
        """Words of a head that HEAD_NORM reads for its squares: whole blocks."""
        if self.shape.head_dim <= BLOCK:
            return self.head_words
        return ceil_div(self.shape.head_dim, max(self.head_lanes, BLOCK)) * self.head_sum_words

    @property
    def block_lanes(self) -> int:
        """Lanes of a word that belong to one block of 64."""
        return min(self.chip.tile_rows, BLOCK)

    @property
    def block_words(self) -> int:
        """Words of a block of 64."""
        return BLOCK // self.block_lanes

    def words(self, values: int) -> int:
        """Words of a vector of so many values."""
        return ceil_div(values, self.chip.tile_rows)

    def padded(self, words: int) -> int:
        """Words rounded up to whole blocks of 64."""
        return ceil_div(words, self.block_words) * self.block_words

    def heads(self, count: int) -> int:
        """Words of `count` heads of q, k or v."""
        return ceil_div(count, self.heads_a_pair) * self.head_words

    @property
    def angle_words(self) -> int:
        """Words of one position's cosines (or sines)."""
        return ceil_div(self.half, self.chip.tile_rows)

    def blocks(self, in_features: int) -> int:
        """Blocks of 64 inputs."""
        return ceil_div(in_features, BLOCK)

    def passes(self, in_features: int) -> int:
        """Passes that a row needs over the slices."""
        return ceil_div(self.blocks(in_features), self.chip.slices)

    def rounds(self, words: int) -> int:
        """Rounds of a matrix whose rows fill so many words."""
        return ceil_div(words, self.chip.rows)

    @property
    def chunks(self) -> int:
        """Steps of attention over a full context: P positions each."""
        return ceil_div(self.chip.context, self.chip.positions)

    @property
    def fold(self) -> int:
        """Query heads that share a KV head; they take turns."""
        return self.shape.num_attention_heads // self.shape.num_key_value_heads

    def head_rows(self, count: int) -> np.ndarray:
        """Where the rows of q, k or v of `count` heads go: int64[count * head_dim] positions.

        First halves in a word, their partners in the next, so that RoPE's pairs meet in a lane.
        """
        lanes, half = self.chip.tile_rows, self.half
        index = np.arange(count * self.shape.head_dim)
        head, channel = index // self.shape.head_dim, index % self.shape.head_dim
        second, pair = channel // half, channel % half
        if half >= lanes:
            word = head * self.head_words + 2 * (pair // lanes) + second
            lane = pair % lanes
        else:
            word = 2 * (head // self.heads_a_pair) + second
            lane = (head % self.heads_a_pair) * half + pair
        return word * lanes + lane

    def channel_layout(self) -> list[int]:
        """Natural channel of a head -> its place in the head's stored vector."""
        lanes, half = self.head_lanes, self.half
        places = []
        for channel in range(self.shape.head_dim):
            second, pair = divmod(channel, half)
            places.append((2 * (pair // lanes) + second) * lanes + pair % lanes)
        return places
