"""The parts of a design: cells, memories and wires, with what a run makes them do.

A run is one token for every user of a group. Areas are of one stage (see Design), work is of a
whole run over all stages. No figure of a process enters here: silicon.py has those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hardcast.chip import logic
from hardcast.chip.design import Design
from hardcast.chip.geometry import ceil_div, log_ceil
from hardcast.chip.logic import Cells
from hardcast.image.matrix import ROW_BITS
from hardcast.program import step as kinds
from hardcast.technology.assumptions import Real

ACC_BITS = 28  # of a row's sum on its way; emit sizes it from the weights, 24 to 32
SUM_BITS = 46  # of a head's mix
SCORE_BITS = 32
VALUE_BITS = 32  # of what the spine's memories hold


@dataclass(frozen=True)
class Memory:
    """ROM or SRAM of a stage. words: depth of a macro. read_bits, written_bits: of a run."""

    kind: str
    bits: float
    words: float
    read_bits: float
    written_bits: float = 0.0


@dataclass(frozen=True)
class Part:
    """A part of the chip. group: what a chart shows together.

    cells: of a stage. busy: cycles of a run in which they work, over all stages. adders: registered
    adders of the tree, and working_adders those that add in a run, summed over its cycles.
    """

    name: str
    group: str
    cells: Cells = Cells(0.0, 0.0, 0.0)
    busy: float = 0.0
    memory: Memory | None = None
    adders: float = 0.0
    added: float = 0.0


def parts(design: Design, library: str, position: int) -> list[Part]:
    """Every part of a design whose users all stand at `position`."""
    return [
        *_weights(design, library),
        *_spine(design, library),
        *_attention(design, library, position),
        *_sampler(design, library),
    ]


def _weights(design: Design, library: str) -> Iterator[Part]:
    chip, rom = design.chip, design.rom
    steps = design.issued["MATVEC"]
    read = steps * design.tiles * design.word_bits
    yield Part("weight ROM", "weights", memory=Memory("rom", rom.tiles_bits, design.depth, read))
    shape = design.subject.program.shape
    words: float = shape.vocab_size * design.geometry.words(shape.hidden_size)
    row = chip.users * rom.embedding_bits * design.stages / shape.vocab_size
    yield Part("embedding ROM", "weights", memory=Memory("rom", rom.embedding_bits, words, row))
    words = design.row_values / chip.tile_rows
    constants = design.row_values * ROW_BITS
    yield Part("row constants ROM", "weights", memory=Memory("rom", rom.row_bits, words, constants))
    cells = logic.tile(library, chip.bits, chip.columns, chip.users, design.subject.offsets)
    yield Part("tiles", "lanes", cells * design.tiles, steps)
    adders = (chip.slices - 1) * chip.tile_rows * chip.users
    yield Part("adder tree", "lanes", adders=adders, added=adders * steps)
    slices = logic.block(library, "slice") * (chip.slices * chip.users)
    yield Part("slice control", "spine", slices, steps)
    wide = chip.slices * (chip.columns * 8 + 16) * chip.broadcast_stages
    wide += chip.tile_rows * ACC_BITS * chip.gather_stages
    stages = logic.flip_flop(library) * (wide * chip.users)
    yield Part("distance registers", "spine", stages, steps)
    if design.lora_rank:
        bits = design.lora_bits
        yield Part("LoRA SRAM", "adapters", memory=Memory("sram", bits, 2048, bits * design.stages))


def _spine(design: Design, library: str) -> Iterator[Part]:
    chip, shape, issued = design.chip, design.subject.program.shape, design.issued
    lanes = chip.tile_rows * chip.users
    blocks = issued["NORM"] + issued.get("QUANT", 0) + issued["GATE"]
    heads = issued["ROPE"] + issued["VALUE"] + issued.get("HSUM", 0)
    for name, busy in (
        ("rows", issued["MATVEC"]),
        ("gate", issued["GATE"]),
        ("rope", issued["ROPE"]),
        ("embed", issued["EMBED"]),
    ):
        yield Part(f"{name} lanes", "spine", logic.block(library, name) * lanes, busy)
    for name, busy in (
        ("quant", blocks),
        ("heads", heads),
        ("squares", issued["NORM"]),
        ("square_quant", issued["NORM"]),
        ("vector", blocks + heads),
    ):
        yield Part(f"{name} lanes", "spine", logic.per_lane(library, name) * lanes, busy)
    single = logic.block(library, "rsqrt") * chip.users
    single += logic.block(library, "seq") + logic.block(library, "host")
    yield Part("sequencer and host port", "spine", single, design.cycles.token([0]).total)
    widths = [shape.hidden_size, *(shape.width(buffer) for buffer in "qkv")]
    widths += [2 * shape.intermediate_size]
    bits = VALUE_BITS * sum(widths) * chip.users
    layers = shape.num_hidden_layers
    moved = 2 * VALUE_BITS * (sum(widths) + 3 * shape.hidden_size) * layers * chip.users
    words = max(ceil_div(shape.intermediate_size, chip.tile_rows), 1)
    yield Part("spine SRAM", "spine", memory=Memory("sram", bits, words, moved / 2, moved / 2))
    deepest = design.geometry.passes(max(shape.intermediate_size, shape.hidden_size))
    bits = chip.slices * deepest * (64 * 8 + 5) * chip.users
    read = design.issued["MATVEC"] * chip.slices * chip.columns * 8 * chip.users
    yield Part("slice SRAM", "spine", memory=Memory("sram", bits, max(deepest, 1), read))


def _attention(design: Design, library: str, position: int) -> Iterator[Part]:
    chip, shape = design.chip, design.subject.program.shape
    kv_heads, lanes = shape.num_key_value_heads, chip.tile_rows
    size = shape.head_dim / 64  # of the heads that were measured
    heads = logic.block(library, "kvhead") * (kv_heads * chip.positions * size * chip.users)
    steps = attention_steps(design, position)
    yield Part("KV heads", "attention", heads, steps)
    whole = logic.block(library, "attend")
    sums = logic.flip_flop(library) * (shape.num_attention_heads * shape.head_dim * SUM_BITS)
    kept = logic.flip_flop(library) * (9 * 64 * SUM_BITS)  # within the measured one
    rest = Cells(whole.area_um2 - kept.area_um2, whole.cycle_fj, whole.clock_fj) * (lanes / 8)
    words = shape.num_hidden_layers * design.geometry.words(shape.width("a"))
    yield Part("attention lanes", "attention", rest * chip.users, words)
    # Of the sums of all query heads, one head's change at a time.
    turns = shape.num_hidden_layers * shape.num_attention_heads
    yield Part("attention sums", "attention", sums * chip.users, turns / shape.num_attention_heads)
    word = 8 * shape.head_dim + 4
    read = steps * chip.positions * kv_heads * word * chip.users
    written = shape.num_hidden_layers * 2 * kv_heads * word * chip.users
    depth = design.stage_layers * design.geometry.chunks * design.stages  # a group of users each
    yield Part("KV SRAM", "KV memory", memory=Memory("sram", design.kv_bits, depth, read, written))
    scores = SCORE_BITS * shape.num_attention_heads * chip.context * chip.users
    seen = steps / 2 * chip.positions * kv_heads * SCORE_BITS * chip.users
    turn = max(design.geometry.fold * design.geometry.chunks, 1)
    yield Part("score SRAM", "KV memory", memory=Memory("sram", scores, turn, seen, seen))


def attention_steps(design: Design, position: int) -> int:
    """Steps of both of attention's passes in a run: P positions of a query head each."""
    chip, total = design.chip, 0
    for op, count, _ in design.cycles.groups:
        if isinstance(op.step, kinds.Attend):
            first = max(position + 1 - op.step.window, 0) if op.step.window else 0
            chunks = position // chip.positions - first // chip.positions + 1
            total += count * 2 * design.geometry.fold * chunks
    return total


def _sampler(design: Design, library: str) -> Iterator[Part]:
    chip, shape = design.chip, design.subject.program.shape
    words = ceil_div(shape.vocab_size, chip.tile_rows)
    lanes = chip.tile_rows * chip.users
    yield Part("argmax", "sampler", logic.per_lane(library, "argmax") * lanes, words)
    rest = logic.per_lane(library, "select") * lanes
    rest += logic.per_lane(library, "noise") * (
        min(chip.sampler_lanes, chip.tile_rows) * chip.users
    )
    for name in ("sorter", "draw"):
        rest += logic.block(library, name) * chip.users
    # A greedy token asks nothing of them; with noise they would work for vocab_size / SL cycles.
    yield Part("noise and selection", "sampler", rest, 0)
    bits = VALUE_BITS * shape.vocab_size * chip.users
    yield Part("logits SRAM", "sampler", memory=Memory("sram", bits, words, bits, bits))


def bit_mm(design: Design, position: int, width: Real, height: Real, kv_mm: Real) -> Real:
    """Bits times mm that a run moves over the die. Elementwise in its measures.

    width, height: of the die, mm. kv_mm: side of a KV head's region. Down every column the slice's
    activations, over every row the tree of the slices' sums, results back to the slices, and within
    a KV head the query to its banks and their sums back.
    """
    chip, shape = design.chip, design.subject.program.shape
    steps = design.issued["MATVEC"]
    down = chip.slices * (chip.columns * 8) * height
    across = chip.tile_rows * ACC_BITS * width / 2 * max(log_ceil(chip.slices, 2), 1)
    back = 8 * design.row_values
    heads = attention_steps(design, position) * shape.num_key_value_heads * shape.head_dim
    within = heads * (8 + 12 * log_ceil(chip.positions, 2)) * kv_mm
    return chip.users * (steps * (down + across) + back * (width + height) / 2 + within)
