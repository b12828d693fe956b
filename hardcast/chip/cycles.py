"""The cycle model: cycles of every step and token, equal to the RTL's counters cycle for cycle.

A word of the program takes one cycle to load and one an issued step; a word that waits also takes
its pipeline's latency and one cycle more. Nothing depends on data: only on the positions (through
attention) and on the sampler's settings. The latencies are those of docs/rtl.md's modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hardcast.chip.geometry import Geometry, log_ceil
from hardcast.chip.sampler_cycles import sampler_cycles
from hardcast.chip.schedule import Op, grouped
from hardcast.numerics.sampling import SamplerSettings
from hardcast.program import step as kinds

KINDS = ("matvec", "attend", "vector", "sample")  # of work, as the chip's counters tell them apart
OF_OP = {"MATVEC": "matvec", "ATTEND": "attend", "SAMPLE": "sample"}
OVERHEAD = 3  # start, first fetch, and telling the host


@dataclass(frozen=True)
class TokenCycles:
    """Cycles of one run. by_kind: of each of KINDS; the rest of `total` is start and end.

    wires: of the total, cycles that pass in broadcast and gather registers alone.
    """

    total: int
    by_kind: dict[str, int]
    wires: int


@dataclass(frozen=True)
class CycleModel:
    """Cycles of a scheduled program on a chip. known: grouped(ops), where it was found before."""

    geometry: Geometry
    ops: Sequence[Op]
    known: list[tuple[Op, int, bool]] | None = None

    @property
    def array_latency(self) -> int:
        """From a step of the array to its row sums at the spine."""
        chip = self.geometry.chip
        stages = chip.broadcast_stages + chip.gather_stages
        return chip.rows + 7 + stages + log_ceil(chip.slices, 2)

    def token(
        self,
        positions: Sequence[int],
        logits: bool = True,
        settings: Sequence[SamplerSettings] = (SamplerSettings(),),
        report: Sequence[int] = (0,),
    ) -> TokenCycles:
        """Cycles of one run: a token for each active user, at his position.

        logits: whether the head and the sampler run. settings, report: of each active user.
        """
        chip = self.geometry.chip
        by_kind = dict.fromkeys(KINDS, 0)
        total, wires = OVERHEAD + 1, 0  # 1: the word that ends the run
        for (op, count, after_head), fixed in zip(self.groups, self._fixed, strict=True):
            if op.name == "END" or (after_head and not logits):
                if op.head:  # the run ends at the head's word, once that is loaded
                    by_kind[OF_OP.get(op.name, "vector")] += 1
                continue
            of_one = self.op(op, positions, settings, report) if fixed is None else fixed
            cycles = count * of_one
            total += cycles
            by_kind[OF_OP.get(op.name, "vector")] += cycles
            if op.name == "MATVEC" and op.wait:
                wires += count * (chip.broadcast_stages + chip.gather_stages)
        return TokenCycles(total, by_kind, wires)

    @cached_property
    def groups(self) -> list[tuple[Op, int, bool]]:
        """The words that take the same cycles, each with how many there are (see grouped)."""
        return grouped(self.ops) if self.known is None else self.known

    @cached_property
    def _fixed(self) -> list[int | None]:
        """Cycles of each group's word, None where positions or settings decide."""
        varies = ("ATTEND", "SAMPLE", "END")
        return [None if op.name in varies else self.op(op) for op, _, _ in self.groups]

    def op(
        self,
        op: Op,
        positions: Sequence[int] = (0,),
        settings: Sequence[SamplerSettings] = (SamplerSettings(),),
        report: Sequence[int] = (0,),
    ) -> int:
        """Cycles of one word, from its load to the load of the next."""
        if op.name == "ATTEND":
            return self._attend(op, positions)
        if op.name == "SAMPLE":
            return 4 + max(map(self._sampler, settings, report))
        issued = self.issued(op)
        return 1 + issued + (self.latency(op) + 1 if op.wait else 0)

    def issued(self, op: Op) -> int:
        """Steps that a word issues, one a cycle."""
        geometry = self.geometry
        chip, shape = geometry.chip, geometry.shape
        match op.step:
            case None:
                return chip.users * 2 * geometry.angle_words
            case kinds.Embed():
                return chip.users * geometry.words(shape.hidden_size)
            case kinds.Matvec(src=src, dst=dst):
                rounds = geometry.rounds(self.output_words(dst))
                passes = geometry.passes(shape.width(src))
                return rounds * op.planes * passes * (2 if op.wide else 1) * chip.rows
            case kinds.HeadNorm(buffer=("q" | "k") as buffer) if op.name == "HSUM":
                heads = self.output_words(buffer) // geometry.head_words
                return heads * geometry.head_read_words
            case kinds.Rope(buffer=buffer) | kinds.HeadNorm(buffer=("q" | "k") as buffer):
                return self.output_words(buffer)
            case kinds.KvWrite():
                return geometry.heads(shape.num_key_value_heads)
            case kinds.GateMul():
                return geometry.padded(geometry.words(shape.intermediate_size))
        return geometry.padded(geometry.words(shape.hidden_size))

    def latency(self, op: Op) -> int:
        """From a word's last step to the sequencer's seeing its result."""
        return self._latencies[op.name]

    @cached_property
    def _latencies(self) -> dict[str, int]:
        geometry = self.geometry
        return {
            "ANGLE": 7,
            "EMBED": 6,
            "NORM": geometry.block_words + 10,
            "QUANT": geometry.block_words + 10,
            "MATVEC": self.array_latency + 10,
            "HSUM": geometry.head_sum_words + 15 + log_ceil(geometry.head_sum_lanes, 4),
            "HAPPLY": 7,
            "BSUM": geometry.block_words + 15 + log_ceil(geometry.block_lanes, 4),
            "BADD": 8,
            "ROPE": geometry.head_words + 11,
            "VALUE": geometry.head_words + 11,
            "GATE": geometry.block_words + 16,
        }

    def output_words(self, dst: str) -> int:
        """Words of a matrix's rows: heads are padded to whole words."""
        shape = self.geometry.shape
        if dst == "q":
            return self.geometry.heads(shape.num_attention_heads)
        if dst in ("k", "v"):
            return self.geometry.heads(shape.num_key_value_heads)
        return self.geometry.words(shape.width(dst))

    def _attend(self, op: Op, positions: Sequence[int]) -> int:
        """Scores, then the mix, then the channels; the first two over all positions seen."""
        geometry, chip, shape = self.geometry, self.geometry.chip, self.geometry.shape
        assert isinstance(op.step, kinds.Attend)
        window = op.step.window or 0
        last = max(positions) // chip.positions
        first = min(max(p + 1 - window, 0) if window else 0 for p in positions) // chip.positions
        steps = geometry.fold * (last - first + 1)
        banks = log_ceil(chip.positions, 2)
        score = steps + log_ceil(shape.head_dim, 4) + banks + 9
        mix = steps + log_ceil(chip.positions, 4) + 11
        words = geometry.padded(geometry.words(shape.width("a")))
        return 1 + score + mix + words + geometry.block_words + 13

    def _sampler(self, settings: SamplerSettings, report: int) -> int:
        """Cycles of the sampler itself."""
        chip, vocabulary = self.geometry.chip, self.geometry.shape.vocab_size
        mode, kept = "greedy", report
        if settings.candidates:
            mode, kept = "candidates", settings.candidates
        elif not settings.greedy:
            mode = "noise"
        return sampler_cycles(vocabulary, chip.tile_rows, chip.sampler_lanes, mode, kept)
