"""Writes hardcast_pkg.sv: every width, depth and latency of one chip, and its structs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hardcast.chip.geometry import Geometry, log_ceil
from hardcast.chip.parameters import BLOCK
from hardcast.numerics.points import Points

WORD_BITS = 20  # of a word's index in a buffer or of a row: enough for any vocabulary
OPCODES = (
    "END", "ANGLE", "EMBED", "NORM", "QUANT", "MATVEC",
    "ROPE", "VALUE", "ATTEND", "GATE", "SAMPLE", "HSUM", "HAPPLY",
)  # fmt: skip
DESTINATIONS = ("X", "QKV", "G", "U", "LOGITS")
BEHIND_OPS = ("BSUM", "BADD")  # further opcodes and vector steps of a chip with norms behind
TARGETS = ("Q", "K", "V")
VECTOR_OPS = ("NORM", "QUANT", "ROPE", "VALUE", "GATE", "ANGLE", "READ", "HSUM", "HAPPLY")
KINDS = ("IDLE", "MATVEC", "ATTEND", "VECTOR", "SAMPLE")

# Fields of a program word, the highest bits first: name, bits, signed, what.
PROGRAM_FIELDS = (
    ("op", 4, False, "opcode"),
    ("wait_", 1, False, "the next word waits for this one's results"),
    ("head", 1, False, "a run without logits ends before this word"),
    ("wide", 1, False, "activations of more than 8 bits: two passes"),
    ("planes2", 1, False, "two weight planes"),
    ("plane_shift", 3, False, "bits that the high plane stands above the low one"),
    ("normed", 1, False, "the last NORM's 1/rms multiplies the rows"),
    ("add", 1, False, "rows are added to the residual"),
    ("bias", 1, False, "rows have a bias"),
    ("codebook", 4, False, "of the (high) plane"),
    ("codebook_low", 4, False, "of the low plane"),
    ("dst", 3, False, "where rows go"),
    ("target", 2, False, "whose blocks: q, k or v"),
    ("bits", 5, False, "of an activation code"),
    ("rounds", 20, False, "of a matrix"),
    ("passes", 10, False, "of a matrix over the slices"),
    ("words", 20, False, "of the result, or of a vector step"),
    ("padded", 20, False, "words rounded up to whole blocks"),
    ("dst_base", 20, False, "first word of the result, or of a vector step's operand"),
    ("rom_base", 32, False, "of the matrix in every tile's ROM"),
    ("row_base", 24, False, "of its rows' multipliers"),
    ("bias_base", 20, False, "of its biases"),
    ("gain_base", 20, False, "of a norm's gains"),
    ("drop_base", 8, True, "sum_bits + bits - 1 - 37"),
    ("shift_base", 9, True, "binary points and fraction, before the row's own shift"),
    ("kv_base", 24, False, "of the layer in the KV memory"),
    ("window", 24, False, "positions that attention sees, 0 for all"),
    ("epsilon", 48, False, "of a norm"),
)
PROGRAM_BITS = sum(bits for _, bits, _, _ in PROGRAM_FIELDS)


@dataclass(frozen=True)
class Contents:
    """What an image adds to a geometry: depths of ROMs and the integers that shape the hardware.

    depths: entries of each ROM by name. codebooks: each of 2^bits values. group: inputs that share
    a scale in the tiles (32 or 64); asymmetric: whether the ROM words have offsets. wide: whether
    activations of more than 8 bits occur. acc_bits: of the tiles' sums. gain_bits: of a norm gain.
    ropes: tables of angles, in the ROMs' order; unturned: whether some layers have none.
    gate: the table of the gates. blocked, behind: see modules.py.
    embed_*: of the embedding's ROM: code bits, planes, codebook, group, offsets.
    """

    depths: Mapping[str, int]
    codebooks: tuple[tuple[int, ...], ...]
    group: int
    asymmetric: bool
    wide: bool
    acc_bits: int
    gain_bits: int
    bias: bool
    head_norm: bool
    ropes: tuple[str, ...]
    unturned: bool
    embed_bits: int
    embed_planes: int
    embed_codebook: int
    embed_group: int
    embed_offsets: bool
    gate: str = "sigmoid"
    blocked: bool = False
    behind: bool = False
    points: Points = field(default_factory=Points)

    @property
    def variants(self) -> frozenset[str]:
        """What the chip has of what modules hold in two forms (modules.py)."""
        has = {
            "switched": self.switched,
            "gelu_tanh": self.gate == "gelu_tanh",
            "blocked": self.blocked,
            "behind": self.behind,
        }
        return frozenset(name for name, value in has.items() if value)

    @property
    def switched(self) -> bool:
        """Whether angles change within a token: the chip reads their ROMs in another way then."""
        return len(self.ropes) != 1 or self.unturned


def address_bits(depth: int) -> int:
    """Bits of an address into `depth` entries, at least 1."""
    return max((depth - 1).bit_length(), 1)


# Relative to where a tool runs: the emitted folder, unless -D HC_ROM says where its rom/ lies.
FOLDER = """\
`ifndef HC_ROM
`define HC_ROM "rom"
`endif
package hardcast_pkg;
  localparam ROM_FOLDER = `HC_ROM;"""


def package(geometry: Geometry, contents: Contents) -> str:
    """The text of hardcast_pkg.sv."""
    constants = {**_chip(geometry, contents), **_model(geometry, contents)}
    lines = ["// Written by hardcast/rtl/package.py: do not edit.", *FOLDER.splitlines()]
    lines += [f"  localparam int {name} = {value};" for name, value in constants.items()]
    lines += _codebooks(geometry, contents)
    lines += _enums(contents.behind)
    lines += _structs(constants)
    lines += _functions(geometry)
    return "\n".join([*lines, "endpackage", ""])


def _chip(geometry: Geometry, contents: Contents) -> dict[str, int]:
    chip = geometry.chip
    groups = BLOCK // contents.group
    largest = max(abs(v) for book in contents.codebooks for v in book)
    sum_bits = (largest * 128 * contents.group).bit_length() + 1
    xsum_bits = (128 * contents.group).bit_length() + 1
    part_bits = max(sum_bits + 8, xsum_bits + 16 if contents.asymmetric else 0) + 2
    tree = log_ceil(chip.slices, 2)
    return {
        "B": chip.bits,
        "K": chip.columns,
        "R": chip.rows,
        "C": chip.slices,
        "TR": chip.tile_rows,
        "U": chip.users,
        "P": chip.positions,
        "LB": chip.broadcast_stages,
        "LT": chip.gather_stages,
        "SL": chip.sampler_lanes,
        "CTX": chip.context,
        "G": groups,
        "ASYM": int(contents.asymmetric),
        "XW": 15 if contents.wide else 8,
        "BIAS": int(contents.bias),
        "ROM_W": 64 * chip.bits + groups * (24 if contents.asymmetric else 8),
        "ROM_D": contents.depths["tile"],
        "ROM_AW": address_bits(contents.depths["tile"]),
        "ROWROM_W": 16,
        "ROW_D": contents.depths["rows"],
        "ROW_AW": address_bits(contents.depths["rows"]),
        "BIAS_D": max(contents.depths["bias"], 1),
        "BIAS_AW": address_bits(contents.depths["bias"]),
        "PROG_D": contents.depths["program"],
        "PROG_AW": address_bits(contents.depths["program"]),
        "PROG_W": PROGRAM_BITS,
        "GAIN_W": contents.gain_bits,
        "GAIN_D": contents.depths["gain"],
        "GAIN_AW": address_bits(contents.depths["gain"]),
        "ACC_W": contents.acc_bits,
        "MULT_W": (largest * 128).bit_length() + 1,
        "SUM_W": sum_bits,
        "XSUM_W": xsum_bits,
        "PART_W": part_bits,
        "SLOT_AW": address_bits(chip.rows),
        "CS_AW": address_bits(chip.slices),
        "UIDX_W": address_bits(chip.users),
        "WORD_AW": WORD_BITS,
        "V_W": 80,
        "ARRAY_LATENCY": chip.rows + 7 + chip.broadcast_stages + chip.gather_stages + tree,
        "EMBED_LATENCY": 5,
        "MIX_BITS": 13,
        "KINDS": len(KINDS),
    }


def _model(geometry: Geometry, contents: Contents) -> dict[str, int]:
    chip, shape, points = geometry.chip, geometry.shape, contents.points
    widest = max(
        shape.hidden_size, shape.intermediate_size, shape.num_attention_heads * shape.head_dim
    )
    q_words = geometry.heads(shape.num_attention_heads)
    kv_words = geometry.heads(shape.num_key_value_heads)
    hidden, inner = geometry.words(shape.hidden_size), geometry.words(shape.intermediate_size)
    qkv = q_words + 2 * kv_words
    kv_depth = shape.num_hidden_layers * geometry.chunks
    dot = 16 + log_ceil(shape.head_dim, 2)
    groups = q_words // geometry.head_words
    tables = max(len(contents.ropes), 1)
    coarse = -(-chip.context // 128) * geometry.angle_words * tables
    slice_depth = max(geometry.passes(widest), 1)
    embed_scales = -(-shape.hidden_size // max(contents.embed_group, chip.tile_rows))
    result = {
        "HIDDEN": shape.hidden_size,
        "XWORDS": hidden,
        "XWORD_AW": address_bits(hidden),
        "QKV_WORDS": qkv,
        "QKV_AW": address_bits(qkv),
        "F_WORDS": inner,
        "F_AW": address_bits(inner),
        "SLICE_D": slice_depth,
        "SLICE_AW": address_bits(slice_depth),
        "SEG64": geometry.block_lanes,
        "WPB64": geometry.block_words,
        "NB64": chip.tile_rows // geometry.block_lanes,
        "SEGH": geometry.head_lanes,
        "WPBH": geometry.head_words,
        "HPP": geometry.heads_a_pair,
        "HD": shape.head_dim,
        "NQ": shape.num_attention_heads,
        "NKV": shape.num_key_value_heads,
        "FOLD": geometry.fold,
        "FOLD_AW": address_bits(geometry.fold),
        "CHUNKS": geometry.chunks,
        "CHUNK_AW": address_bits(geometry.chunks),
        "SCORE_AW": address_bits(geometry.fold * geometry.chunks),
        "KV_D": kv_depth,
        "KV_AW": address_bits(kv_depth),
        "POS_W": address_bits(chip.context + chip.positions) + 1,
        "GROUP_AW": address_bits(groups),
        "QWORD_AW": address_bits(geometry.padded(geometry.words(shape.width("a")))),
        "SUM_STAGES_HD": log_ceil(shape.head_dim, 4),
        "SUM_STAGES_P": log_ceil(chip.positions, 4),
        "HEAD_NORM": int(contents.head_norm),
        "HSUM_WORDS": geometry.head_sum_words,
        "HEAD_GROUPS": groups,
        **_blocked(geometry, contents),
        "SQUARES_LATENCY_H": log_ceil(geometry.head_sum_lanes, 4) + 4,
        "MAX_STAGES": log_ceil(chip.positions, 2),
        "SCORE_SHIFT": 2 * points.rope - points.score,
        "SCORE_W": dot + 31 - (2 * points.rope - points.score) + 1,
        "MIX_W": 36 + (chip.context + chip.positions).bit_length(),
        "ANGLE_WORDS": geometry.angle_words,
        "COARSE_D": coarse,
        "COARSE_AW": address_bits(coarse),
        **({"ANGLE_TABLES": tables} if contents.switched else {}),
        "FINE_AW": address_bits(128 * geometry.angle_words * tables),
        "NORM_SHIFT": points.gain - points.norm_extra,
        "ROPE_SHIFT": 14 + points.qk - points.rope,
        "NORMED_SHIFT": points.normed + points.gain - points.qk,
        **(
            {"BEHIND_SHIFT": points.normed + points.gain - points.residual}
            if contents.behind
            else {}
        ),
        "POINT_NORMED": points.normed,
        "POINT_RESIDUAL": points.residual,
        "POINT_V": points.v,
        "POINT_A": points.a,
        "POINT_GATE": points.gate,
        "POINT_SILU": points.silu,
        "POINT_F": points.f,
        "POINT_LOGITS": points.logits,
        "VOCAB": shape.vocab_size,
        "TOKEN_W": address_bits(shape.vocab_size),
        "EMB_BITS": contents.embed_bits,
        "EMB_PLANES": contents.embed_planes,
        "EMB_CB": contents.embed_codebook,
        "EMB_GROUP": contents.embed_group,
        "EMBS_W": 24 if contents.embed_offsets else 8,
        "EMB_D": shape.vocab_size * hidden,
        "EMB_AW": address_bits(shape.vocab_size * hidden),
        "EMB_SCALES": embed_scales,
        "EMBS_D": shape.vocab_size * embed_scales,
        "EMBS_AW": address_bits(shape.vocab_size * embed_scales),
    }
    return result


def _blocked(geometry: Geometry, contents: Contents) -> dict[str, int]:
    """Of norms of heads whose squares are neither one block nor two halves."""
    if not contents.blocked:
        return {}
    return {"SEGS": geometry.head_sum_lanes, "HEAD_READ": geometry.head_read_words}


def _codebooks(geometry: Geometry, contents: Contents) -> list[str]:
    """CODEBOOK[{which, code}], unpacked so that a simulator reads it as a table."""
    size, books = 1 << geometry.chip.bits, contents.codebooks
    bits = address_bits(len(books))
    values = [v for book in books for v in (*book, *(0,) * (size - len(book)))]
    values += [0] * ((size << bits) - len(values))
    text = ", ".join(f"8'sd{v}" if v >= 0 else f"-8'sd{-v}" for v in values)
    return [
        f"  localparam int CODEBOOKS = {len(books)};",
        f"  localparam int CB_AW = {bits};",
        f"  localparam logic signed [7:0] CODEBOOK[{size << bits}] = '{{{text}}};",
    ]


def _enums(behind: bool) -> list[str]:
    lines = []
    more = BEHIND_OPS if behind else ()
    for prefix, names, bits in (
        ("OP", OPCODES + more, 4),
        ("DST", DESTINATIONS + (("Y",) if behind else ()), 3),
        ("TARGET", TARGETS, 2),
        ("VEC", VECTOR_OPS + more, 4),
        ("KIND", KINDS, 3),
    ):
        for value, name in enumerate(names):
            lines.append(f"  localparam logic [{bits - 1}:0] {prefix}_{name} = {bits}'d{value};")
    return lines


def _structs(constants: Mapping[str, int]) -> list[str]:
    def struct(name: str, members: list[tuple[str, int | str, bool]]) -> list[str]:
        lines = ["  typedef struct packed {"]
        for member, bits, signed in members:
            high = f"{bits}-1" if isinstance(bits, str) else str(bits - 1)
            lines.append(f"    logic {'signed ' if signed else ''}[{high}:0] {member};")
        return [*lines, f"  }} {name};"]

    mat = [(n, 1, False) for n in ("first", "half", "last", "wide", "low")]
    rows = [(n, 1, False) for n in ("unit_first", "unit_final", "normed", "add", "bias", "done")]
    vec = [
        (n, 1, False)
        for n in (
            "zero",
            "block_first",
            "block_last",
            "head_first",
            "head_last",
            "first",
            "last",
            "done",
            "second",
        )  # fmt: skip
    ]
    return [
        *struct("prog_t", [(n, b, s) for n, b, s, _ in PROGRAM_FIELDS]),
        *struct(
            "mat_t",
            [
                *mat,
                ("add_shift", 4, False),
                ("codebook", "CB_AW", False),
                ("slice_addr", "SLICE_AW", False),
                ("rom_addr", "ROM_AW", False),
            ],
        ),
        *struct(
            "rows_t",
            [
                *rows,
                ("slot", "SLOT_AW", False),
                ("drop_base", 8, True),
                ("shift_base", 9, True),
                ("dst", 3, False),
                ("dst_base", "WORD_AW", False),
                ("word", "WORD_AW", False),
                ("words", "WORD_AW", False),
                ("row_addr", "ROW_AW", False),
                ("bias_addr", "BIAS_AW", False),
            ],
        ),
        *struct(
            "vec_t",
            [
                *vec,
                ("op", 4, False),
                ("target", 2, False),
                ("bits", 5, False),
                ("base", "WORD_AW", False),
                ("word", "WORD_AW", False),
                ("angle", "WORD_AW", False),
            ],
        ),
    ]


def _functions(geometry: Geometry) -> list[str]:
    """head_layout: natural channel of a head -> its place in the stored vector."""
    cases = [f"      {i}: return {place};" for i, place in enumerate(geometry.channel_layout())]
    return [
        "  function automatic int head_layout(input int channel);",
        "    case (channel)",
        *cases,
        "      default: return 0;",
        "    endcase",
        "  endfunction",
        "  function automatic logic signed [7:0] codebook_value(input int at);",
        "    return CODEBOOK[at];",
        "  endfunction",
    ]
