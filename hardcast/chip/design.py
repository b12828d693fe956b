"""A model on a chip, or on several: whole numbers only, no figure of any node.

Several dies: `stages` chips in a row hold a part of the layers each (a token passes from one to
the next, and as many groups of users are under way), and each such chip may be cut into `pieces`
dies by rows of tiles (every product's results are then exchanged between them). The RTL is that of
one die; what more dies cost in time and links is computed (docs/chip.md).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from hardcast.chip.cycles import CycleModel
from hardcast.chip.geometry import Geometry, ceil_div
from hardcast.chip.parameters import BLOCK, Chip
from hardcast.chip.subject import Subject
from hardcast.errors import HardcastError
from hardcast.image.matrix import GROUP_BITS, OFFSET_BITS
from hardcast.program import step as kinds

WIDE_BITS = 15  # of an activation, where any has more than 8
ROW_BITS = 16  # of a row's multiplier and shift in ROM; an image's file keeps 24
EXCHANGES = ("MATVEC", "ATTEND", "GATE")  # words whose results every piece needs


@dataclass(frozen=True)
class Design:
    """A subject laid on a chip. lora_rank: of adapters held in SRAM, 0 for none.

    Raises HardcastError for codes wider than the lanes, and for lanes that do not divide a head.
    """

    subject: Subject
    chip: Chip
    stages: int = 1
    pieces: int = 1
    lora_rank: int = 0

    def __post_init__(self) -> None:
        chip, layers = self.chip, self.subject.program.shape.num_hidden_layers
        chip.check()
        if self.subject.bits > chip.bits:
            raise HardcastError(
                f"{self.subject.name}: recipe {self.subject.recipe} has planes of "
                f"{self.subject.bits} bits, chip {chip.name} has lanes of {chip.bits}; "
                f"choose --bits {self.subject.bits} or another recipe"
            )
        if not 1 <= self.stages <= layers:
            raise HardcastError(f"{self.stages} stages: the model has {layers} layers")
        if not 1 <= self.pieces <= chip.tile_rows:
            raise HardcastError(f"{self.pieces} pieces: the chip has {chip.tile_rows} tile rows")
        Geometry(chip, self.subject.program.shape)

    def divided(self, stages: int, pieces: int) -> Design:
        """The same on other dies. What does not depend on them is not counted anew."""
        made = dataclasses.replace(self, stages=stages, pieces=pieces)
        for name in (
            "cycles",
            "issued",
            "exchanges",
            "row_values",
            "row_words",
            "gain_words",
            "bias_words",
        ):
            made.__dict__[name] = getattr(self, name)
        return made

    @property
    def dies(self) -> int:
        """Dies that hold the model."""
        return self.stages * self.pieces

    @property
    def largest_piece(self) -> float:
        """Share of a stage that its largest piece holds: whole rows of tiles."""
        return ceil_div(self.chip.tile_rows, self.pieces) / self.chip.tile_rows

    @cached_property
    def cycles(self) -> CycleModel:
        """The cycle model of the whole chip, as if it were one die."""
        geometry = Geometry(self.chip, self.subject.program.shape)
        return CycleModel(geometry, self.subject.ops, self.subject.groups)

    @property
    def geometry(self) -> Geometry:
        """How the model lies on the chip."""
        return self.cycles.geometry

    @property
    def word_bits(self) -> int:
        """Bits of a tile's ROM word: 64 codes, and a scale (and offset) for each of its groups."""
        field = GROUP_BITS + (OFFSET_BITS if self.subject.offsets else 0)
        return BLOCK * self.chip.bits + BLOCK // self.subject.group_size * field

    @property
    def tiles(self) -> int:
        """Tiles of a stage."""
        return self.chip.tile_rows * self.chip.slices

    @cached_property
    def issued(self) -> dict[str, int]:
        """Steps that a run issues, of each kind of word but ATTEND and SAMPLE."""
        found: dict[str, int] = {}
        for op, count, _ in self.cycles.groups:
            if op.name not in ("ATTEND", "SAMPLE", "END"):
                found[op.name] = found.get(op.name, 0) + count * self.cycles.issued(op)
        return found

    @cached_property
    def exchanges(self) -> int:
        """Times a run that pieces have to tell each other what they computed."""
        waits = [(op, n) for op, n, _ in self.cycles.groups if op.wait and op.name in EXCHANGES]
        return sum(count for _, count in waits)

    def _words(self, head: bool) -> int:
        """ROM words a tile: of all layers, or of the head. Wide activations read them twice."""
        words = 0
        for op, count, after_head in self.cycles.groups:
            if isinstance(op.step, kinds.Matvec) and after_head == head:
                words += count * self.cycles.issued(op) // (2 if op.wide else 1)
        return words

    @cached_property
    def rom(self) -> Rom:
        """Bits of mask ROM of the largest stage."""
        shape = self.subject.program.shape
        a_word = self.tiles * self.word_bits
        layers, head = (a_word * self._words(of) for of in (False, True))
        form = self.subject.forms[self.subject.embedding]
        groups = ceil_div(shape.hidden_size, form.group_size or shape.hidden_size)
        field = GROUP_BITS + (OFFSET_BITS if form.offsets else 0)
        row = shape.hidden_size * form.bits * form.planes + groups * field + ROW_BITS
        embedding = shape.vocab_size * row
        rows = ceil_div(self.row_words * self.chip.tile_rows * ROW_BITS, self.stages)
        if self.stages == 1:
            return Rom(layers + head, embedding, rows)
        layer = ceil_div(layers, a_word * shape.num_hidden_layers) * a_word
        parts = [embedding, *[layer] * shape.num_hidden_layers, head]
        share = embedding // self.stages
        return Rom(largest_part(parts, self.stages) - share, share, rows)

    @cached_property
    def row_values(self) -> int:
        """Rows of all matrices, padded to whole words: what leaves the spine in a run."""
        return self.chip.tile_rows * sum(
            count * self.cycles.output_words(op.step.dst)
            for op, count, _ in self.cycles.groups
            if isinstance(op.step, kinds.Matvec)
        )

    @cached_property
    def row_words(self) -> int:
        """Words of the ROM of row constants: rows of all matrices, padded to whole rounds."""
        return self.chip.rows * sum(
            count * self.geometry.rounds(self.cycles.output_words(op.step.dst))
            for op, count, _ in self.cycles.groups
            if isinstance(op.step, kinds.Matvec)
        )

    @cached_property
    def gain_words(self) -> int:
        """Words of the ROM of norm gains."""
        words = self.geometry.words(self.subject.program.shape.hidden_size)
        each = {"NORM": words, "BADD": words, "HAPPLY": self.geometry.head_words}
        return sum(count * each.get(op.name, 0) for op, count, _ in self.cycles.groups)

    @cached_property
    def bias_words(self) -> int:
        """Words of the ROM of biases, padded as row_words are."""
        return self.chip.rows * sum(
            count * self.geometry.rounds(self.cycles.output_words(op.step.dst))
            for op, count, _ in self.cycles.groups
            if isinstance(op.step, kinds.Matvec) and op.step.bias is not None
        )

    @property
    def code_bits(self) -> int:
        """Bits of an activation in a slice's memory: wide ones are swept in two parts."""
        return WIDE_BITS if any(op.wide for op, _, _ in self.cycles.groups) else 8

    @property
    def depth(self) -> int:
        """ROM words a tile of the largest stage: what a sweep of all its matrices takes."""
        return ceil_div(self.rom.tiles_bits, self.tiles * self.word_bits)

    @property
    def stage_layers(self) -> int:
        """Layers of a stage, rounded up."""
        return ceil_div(self.subject.program.shape.num_hidden_layers, self.stages)

    @property
    def kv_depth(self) -> int:
        """Words of a bank of the KV memory: its layers, of every group of users under way."""
        return self.stage_layers * self.geometry.chunks * self.stages

    @property
    def kv_bits(self) -> int:
        """Bits of a stage's KV memory: its layers, for every user of every group under way."""
        shape = self.subject.program.shape
        word = 2 * (8 * shape.head_dim + 4)  # of key and value, an exponent beside the codes
        banks = self.chip.positions * shape.num_key_value_heads * self.chip.users
        return self.kv_depth * banks * word

    @property
    def lora_bits(self) -> int:
        """Bits of a stage's adapters: int8, for every matrix of its layers."""
        shapes = self.subject.program.matrices()
        sides = sum(
            rows + columns for name, (rows, columns) in shapes.items() if name.startswith("layers.")
        )
        return ceil_div(sides * self.lora_rank * 8, self.stages)


@dataclass(frozen=True)
class Rom:
    """Bits of mask ROM of a stage: beside the tiles, of the embedding, of row multipliers."""

    tiles_bits: int
    embedding_bits: int
    row_bits: int


def largest_part(sizes: list[int], parts: int) -> int:
    """The least possible size of the largest of so many runs of neighbours.

    sizes: of things that stay in order. parts: at most as many as things.
    """
    low, high = max(sizes), sum(sizes)
    if parts == 1:
        return high
    while low < high:
        middle = (low + high) // 2
        # largest: of the runs that middle allows; over: the least that it just does not.
        runs, filled, largest, over = 1, 0, 0, high
        for size in sizes:
            if filled + size > middle:
                over = min(over, filled + size)
                runs, filled = runs + 1, 0
            filled += size
            largest = max(largest, filled)
        low, high = (low, largest) if runs <= parts else (over, high)
    return low
