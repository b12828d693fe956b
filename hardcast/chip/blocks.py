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
from hardcast.program import step as kinds
from hardcast.technology.assumptions import Real

# Widths of the RTL (hardcast/rtl/package.py); the first two grow a little with a model's bounds.
ACC_BITS = 48  # of a row's sum on its way
GAIN_BITS = 16
VALUE_BITS = 32  # of what the spine's memories hold
ADDER_BITS = 32  # that chip.adder_* stand for
SUMS_MEASURED = 9 * 64 * 48  # bits of sums in the attention that was measured
SHIFT_BITS, XSUM_BITS = 6, 15  # of a block on its way down a column, and of each of its groups
PROGRAM_BITS = 331  # of a word of the program
FINE_STEPS = 128  # of the sin/cos ROM


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
    adders of 32 bits, and added those that add in a run, summed over its cycles.
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
        *_spine(design, library, position),
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
    words = design.row_words / design.stages
    constants = rom.row_bits * design.stages
    yield Part("row constants ROM", "weights", memory=Memory("rom", rom.row_bits, words, constants))
    cells = logic.tile(library, chip.bits, chip.columns, chip.users, design.subject.offsets)
    yield Part("tiles", "lanes", cells * design.tiles, steps)
    adders = (chip.slices - 1) * chip.tile_rows * chip.users * ACC_BITS / ADDER_BITS
    yield Part("adder tree", "lanes", adders=adders, added=adders * steps)
    # Every piece of a stage holds all activations, and sends them down its own columns.
    slices = logic.block(library, "slice") * (chip.slices * chip.users * design.pieces)
    yield Part("slice control", "spine", slices, steps)
    wide = chip.slices * column_bits(design) * chip.broadcast_stages * design.pieces
    wide += chip.tile_rows * ACC_BITS * chip.gather_stages
    stages = logic.flip_flop(library) * (wide * chip.users)
    yield Part("distance registers", "spine", stages, steps)
    if design.lora_rank:
        bits = design.lora_bits
        yield Part("LoRA SRAM", "adapters", memory=Memory("sram", bits, 2048, bits * design.stages))


def _spine(design: Design, library: str, position: int) -> Iterator[Part]:
    chip, shape, issued = design.chip, design.subject.program.shape, design.issued
    lanes = chip.tile_rows * chip.users
    attended = design.geometry.padded(design.geometry.words(shape.width("a")))
    attended *= shape.num_hidden_layers
    squared = issued["NORM"] + issued.get("BSUM", 0)
    blocks = issued["NORM"] + issued.get("QUANT", 0) + issued["GATE"] + attended
    heads = issued["ROPE"] + issued["VALUE"]
    embed = logic.block(library, "embed") * chip.tile_rows  # one for all users, one after another
    yield Part("embed lanes", "spine", embed, issued["EMBED"])
    for name, busy in (
        ("rows", issued["MATVEC"]),
        ("gate", issued["GATE"]),
        ("rope", issued["ROPE"] + issued["ANGLE"] / chip.users),
    ):
        yield Part(f"{name} lanes", "spine", logic.block(library, name) * lanes, busy)
    for name, busy in (
        ("quant", blocks),
        ("heads", heads),
        ("squares", squared),
        ("square_quant", squared),
        ("vector", blocks + heads),
    ):
        yield Part(f"{name} lanes", "spine", logic.per_lane(library, name) * lanes, busy)
    if "HSUM" in issued:  # not synthesised by itself: of what its two passes consist
        norm = logic.per_lane(library, "squares") + logic.per_lane(library, "square_quant")
        norm += logic.block(library, "rows")
        yield Part("head norm lanes", "spine", norm * lanes, issued["HSUM"])
    if "BADD" in issued:  # nor this: the multipliers of a row, and the residual's adder
        yield Part(
            "norm behind lanes", "spine", logic.block(library, "rows") * lanes, issued["BADD"]
        )
    single = logic.block(library, "rsqrt") * chip.users
    single += logic.block(library, "seq") + logic.block(library, "host")
    cycles = design.cycles.token([position] * chip.users).total
    yield Part("sequencer and host port", "spine", single * design.pieces, cycles)
    yield Part("spine ROM", "spine", memory=_spine_rom(design))
    widths = [shape.hidden_size, *(shape.width(buffer) for buffer in "qkv")]
    widths += [2 * shape.intermediate_size]
    bits = VALUE_BITS * sum(widths) * chip.users
    layers = shape.num_hidden_layers
    moved = 2 * VALUE_BITS * (sum(widths) + 3 * shape.hidden_size) * layers * chip.users
    words = max(ceil_div(shape.intermediate_size, chip.tile_rows), 1)
    yield Part("spine SRAM", "spine", memory=Memory("sram", bits, words, moved / 2, moved / 2))
    deepest = design.geometry.passes(max(shape.width(of) for of in "haf"))
    block = 64 * design.code_bits + 5
    bits = chip.slices * deepest * block * chip.users * design.pieces
    read = issued["MATVEC"] / chip.rows * chip.slices * block * chip.users * design.pieces
    ended = blocks // design.geometry.block_words * (chip.tile_rows // design.geometry.block_lanes)
    written = ended * block * chip.users * design.pieces
    yield Part("slice SRAM", "spine", memory=Memory("sram", bits, deepest, read, written))


def _spine_rom(design: Design) -> Memory:
    """Program, gains of norms, biases, and cosines and sines of positions in every table."""
    chip, issued = design.chip, design.issued
    program = PROGRAM_BITS * len(design.subject.ops)
    angles = (ceil_div(chip.context, FINE_STEPS) + FINE_STEPS) * design.geometry.angle_words
    angles *= max(len(design.subject.program.rope_tables()), 1)  # a ROM of none has a word
    biases = chip.tile_rows * VALUE_BITS * design.bias_words
    gains = chip.tile_rows * GAIN_BITS * design.gain_words
    bits = (program + biases + gains) / design.stages + chip.tile_rows * VALUE_BITS * angles
    applied = chip.tile_rows * GAIN_BITS * (issued["NORM"] + issued.get("HAPPLY", 0))
    turned = chip.tile_rows * 2 * VALUE_BITS * issued["ANGLE"]
    words = max(design.gain_words / design.stages, 1)
    return Memory("rom", bits, words, program + biases + applied + turned)


def column_bits(design: Design) -> int:
    """Bits that go down a column in a cycle, of one user: activations, shift, sums of groups."""
    groups = 64 // design.subject.group_size
    return design.chip.columns * 8 + SHIFT_BITS + groups * XSUM_BITS


def _attention(design: Design, library: str, position: int) -> Iterator[Part]:
    chip, shape = design.chip, design.subject.program.shape
    kv_heads, lanes = shape.num_key_value_heads, chip.tile_rows
    size = shape.head_dim / 64  # of the heads that were measured
    heads = logic.block(library, "kvhead") * (kv_heads * chip.positions * size * chip.users)
    steps = attention_steps(design, position)
    yield Part("KV heads", "attention", heads, steps)
    whole = logic.block(library, "attend")
    values = shape.num_attention_heads * shape.head_dim
    sums = logic.flip_flop(library) * (values * mix_bits(design))
    kept = logic.flip_flop(library) * SUMS_MEASURED
    rest = Cells(whole.area_um2 - kept.area_um2, whole.cycle_fj, whole.clock_fj) * (lanes / 8)
    words = shape.num_hidden_layers * design.geometry.words(shape.width("a"))
    yield Part("attention lanes", "attention", rest * chip.users, words)
    # Of the sums of all query heads, one head's change at a time.
    yield Part("attention sums", "attention", sums * chip.users, shape.num_hidden_layers)
    word = 8 * shape.head_dim + 4
    read = steps * chip.positions * kv_heads * word * chip.users
    written = shape.num_hidden_layers * 2 * kv_heads * word * chip.users
    yield Part(
        "KV SRAM",
        "KV memory",
        memory=Memory("sram", design.kv_bits, design.kv_depth, read, written),
    )
    seats = design.geometry.chunks * chip.positions
    width = score_bits(design)
    scores = width * shape.num_attention_heads * seats * chip.users
    seen = steps / 2 * chip.positions * kv_heads * width * chip.users
    turn = max(design.geometry.fold * design.geometry.chunks, 1)
    yield Part("score SRAM", "KV memory", memory=Memory("sram", scores, turn, seen, seen))


def score_bits(design: Design) -> int:
    """Bits of a score in its memory: 16-bit products of a head's channels, shifted."""
    return 38 + log_ceil(design.subject.program.shape.head_dim, 2)


def mix_bits(design: Design) -> int:
    """Bits of a channel's sum of weighted values over the context."""
    return 36 + (design.chip.context + design.chip.positions).bit_length()


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
    yield Part("logits SRAM", "sampler", memory=Memory("sram", bits, words, 0.0, bits))


def bit_mm(
    design: Design, position: int, sides_mm: tuple[Real, Real], kv_mm: Real, tile_mm: Real
) -> Real:
    """Bits times mm that a run moves over the die. Elementwise in its measures.

    sides_mm: width and height of a die. kv_mm, tile_mm: side of the region of a KV head, and of a
    tile with its ROM. Words go from the ROM to the lanes: from anywhere in a square to its middle
    are half a side on average. Down every column of every piece goes what a slice sends, over every
    row the tree of the slices' sums, results back to the slices, and within a KV head the query to
    its banks and their sums back.
    """
    chip, shape, (width, height) = design.chip, design.subject.program.shape, sides_mm
    steps = design.issued["MATVEC"]
    words = design.tiles * design.word_bits * tile_mm / 2
    down = chip.slices * column_bits(design) * design.pieces * height
    across = chip.tile_rows * ACC_BITS * width / 2 * max(log_ceil(chip.slices, 2), 1)
    back = 8 * design.row_values
    heads = attention_steps(design, position) * shape.num_key_value_heads * shape.head_dim
    # Half of the steps send a query to all banks; the others add, half a side a level of the tree.
    sums = mix_bits(design) / 2 * log_ceil(chip.positions, 2)
    within = heads / 2 * (8 + sums) * kv_mm
    each = steps * (down + across) + back * (width + height) / 2 + within
    return steps * words + chip.users * each
