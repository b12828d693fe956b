"""The blocks of a chip that are synthesised, each by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hardcast.chip.geometry import Geometry
from hardcast.errors import HardcastError
from hardcast.rtl.modules import modules
from hardcast.rtl.package import package
from hardcast.rtl.tables import tables_package
from hardcast.synthesis.options import LINEAR as LINEAR
from hardcast.synthesis.options import Options as Options

MEMORIES = ("hc_ram", "hc_rom")


@dataclass(frozen=True)
class Block:
    """A block. what: for people, with what one of it is. uses: the options that shape it.

    parameters: of the module, from a geometry. boxes: modules inside that are left out, their
    ports standing for them; memories always are. late: input ports that memories outside drive.
    ops: operations a cycle, that its energy is shared out over.
    """

    name: str
    top: str
    what: str
    uses: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    parameters: Callable[[Geometry], dict[str, int]] = lambda _: {}
    boxes: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    ops: Callable[[Options], int] = lambda options: options.lanes


def _quant(width: int, magnitude: int, code: int, meta: int, heads: bool = False) -> Any:
    def parameters(geometry: Geometry) -> dict[str, int]:
        segment = geometry.head_lanes if heads else geometry.block_lanes
        words = geometry.head_words if heads else geometry.block_words
        return {
            "TR": geometry.chip.tile_rows,
            "SEG": segment,
            "WPB": words,
            "W": width,
            "MAG": magnitude,
            "CODE_W": code,
            "META": meta,
        }

    return parameters


def _sampler(geometry: Geometry) -> dict[str, int]:
    words = -(-geometry.shape.vocab_size // geometry.chip.tile_rows)
    return {
        "Vocab": geometry.shape.vocab_size,
        "WordWidth": max((words - 1).bit_length(), 1),
    }


_VECTOR_PARTS = ("hc_rows", "hc_quant", "hc_gate", "hc_rope", "hc_squares", "hc_rsqrt", "hc_attend")
_LANES = ("lanes",)
_HEADS = ("lanes", "positions", "shape")

BLOCKS = {
    block.name: block
    for block in (
        Block(
            "tile",
            "hc_tile",
            "64 weights a cycle for U users, with the scale unit",
            ("bits", "columns", "users", "recipe"),
            late=("word",),
            ops=lambda o: 64 * o.users,
        ),
        Block(
            "slice",
            "hc_slice",
            "a column's activation buffer without its memory",
            ("columns", "users", "recipe", "bits"),
            ops=lambda o: o.columns * o.users,
        ),
        Block(
            "rows",
            "hc_rows",
            "what becomes of the row sums of TR lanes",
            _LANES,
            late=("row_word", "bias_word", "residual"),
        ),
        Block(
            "quant",
            "hc_quant",
            "blocks of 64 to int8 and an exponent, TR lanes",
            _LANES,
            {"lanes": 8},
            _quant(38, 37, 16, 2),
        ),
        Block(
            "heads",
            "hc_quant",
            "blocks of a head to int8 and an exponent, TR lanes",
            ("lanes", "shape"),
            {"lanes": 8},
            _quant(35, 22, 8, 4, heads=True),
        ),
        Block(
            "square_quant",
            "hc_quant",
            "blocks of 64 to 16 bits for the sum of squares, TR lanes",
            _LANES,
            {"lanes": 8},
            _quant(32, 37, 16, 2),
            late=("in_word",),
        ),
        Block("gate", "hc_gate", "silu(g) * u of TR lanes", _LANES, late=("g", "u")),
        Block(
            "rope",
            "hc_rope",
            "rotations of TR lanes",
            _LANES,
            {},
            lambda g: {"TR": g.chip.tile_rows, "META": 6},
            late=("in_word", "in_angle"),
        ),
        Block(
            "squares",
            "hc_squares",
            "sum of squares of TR lanes",
            _LANES,
            {"lanes": 8},
            lambda g: {"LANES": g.chip.tile_rows, "SEG": g.block_lanes},
        ),
        Block("rsqrt", "hc_rsqrt", "1/sqrt of one number", ()),
        Block(
            "kvhead",
            "hc_kvhead",
            "arithmetic of a KV head at P positions a cycle",
            ("positions", "shape"),
            ops=lambda o: 2 * o.positions * o.geometry().shape.head_dim,
        ),
        Block(
            "attend",
            "hc_attend",
            "a user's attention without its KV heads: sums kept, 1/Z applied, TR lanes",
            _HEADS,
            {"lanes": 8},
            boxes=("hc_kvhead",),
        ),
        Block(
            "vector",
            "hc_vector",
            "a user's spine without its units and memories: norm, blocks, control, TR lanes",
            _HEADS,
            {"lanes": 8},
            boxes=_VECTOR_PARTS,
            late=("row_word", "bias_word", "gain_word", "angle_coarse", "angle_fine"),
        ),
        Block("embed", "hc_embed", "the embedding of TR lanes", ("lanes", "bits", "recipe")),
        Block("seq", "hc_seq", "the sequencer", ("shape",)),
        Block("host", "hc_host", "the host port", ("users",)),
        Block(
            "argmax",
            "hc_argmax",
            "the largest of TR logits a cycle",
            _LANES,
            {"lanes": 8},
            lambda g: {"Lanes": g.chip.tile_rows, "Width": 32, "BaseWidth": 16},
        ),
        Block(
            "sorter",
            "hc_sorter",
            "the 256 largest, sorted",
            ("shape",),
            {},
            lambda g: {"Depth": 256, "IdWidth": (g.shape.vocab_size - 1).bit_length()},
        ),
        Block(
            "select",
            "hc_select",
            "the K largest logits, without the sorter",
            ("lanes", "shape"),
            {"lanes": 8},
            lambda g: {
                **_sampler(g),
                "Lanes": g.chip.tile_rows,
                "IdWidth": (g.shape.vocab_size - 1).bit_length(),
            },
            boxes=("hc_sorter",),
        ),
        Block(
            "draw",
            "hc_draw",
            "a draw among the K largest",
            ("shape",),
            {},
            lambda g: {"IdWidth": (g.shape.vocab_size - 1).bit_length()},
        ),
        Block(
            "noise",
            "hc_noise",
            "Gumbel noise for TR logits a cycle, with its Philox units",
            ("lanes", "shape"),
            {"lanes": 4},
            lambda g: {
                **_sampler(g),
                "Lanes": g.chip.tile_rows,
                "WordLanes": g.chip.tile_rows,
            },
        ),
        Block("philox", "hc_philox", "four random words a cycle", ()),
        Block("gumbel", "hc_gumbel", "Gumbel noise of one random word", ()),
    )
}


def get_block(name: str) -> Block:
    """The block called `name`. Raises HardcastError listing the known ones."""
    if name not in BLOCKS:
        raise HardcastError(f"no block {name!r}; there are: {', '.join(BLOCKS)}")
    return BLOCKS[name]


def sources(block: Block, options: Options) -> dict[str, str]:
    """The .sv files that a block needs, by name, packages first."""
    texts = {
        "hc_tables_pkg.sv": tables_package(),
        "hardcast_pkg.sv": package(options.geometry(), options.contents()),
    }
    waiting = [block.top]
    while waiting:
        name = waiting.pop()
        if f"{name}.sv" in texts:
            continue
        text = modules()[f"{name}.sv"]
        texts[f"{name}.sv"] = text
        used = dict.fromkeys(re.findall(r"\bhc_\w+(?=\s*(?:#\s*\(|u_\w+\s*\())", text))
        waiting += [module for module in used if module != name]
    return texts
