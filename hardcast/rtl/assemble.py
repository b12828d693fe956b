"""The program ROM: a schedule's words with every address and shift filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hardcast.chip.cycles import CycleModel
from hardcast.chip.geometry import Geometry
from hardcast.chip.schedule import Op
from hardcast.image import Image
from hardcast.program import step as kinds
from hardcast.rtl.package import BEHIND_OPS, DESTINATIONS, OPCODES, PROGRAM_FIELDS, TARGETS
from hardcast.rtl.words import bits_of, hex_lines

PRODUCT_BITS = 37  # of t in MATVEC (docs/steps/matvec.md)
NORM_FRACTION = 31  # 1/rms = r * 2^-(31 + halfshift)


@dataclass
class Places:
    """Where things are: what `assemble` fills in while it goes, and emit needs for the contents.

    matrices: name -> (first tile word, first row word, words of rows); the head and the embedding
    may share one. biases: name -> first word. gains: in order, and whether they are a head's.
    """

    matrices: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)
    biases: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    gains: list[tuple[str, bool]] = field(default_factory=list)
    tile: int = 0
    rows: int = 0
    bias: int = 0
    gain: int = 0


def assemble(
    image: Image,
    geometry: Geometry,
    ops: list[Op],
    codebooks: Mapping[str, tuple[int, int]],
) -> tuple[bytes, Places]:
    """The lines of program.mem, and where the ROM contents go.

    codebooks: of each matrix, the index of its (high) plane's and of its low plane's codebook.
    """
    assembler = _Assembler(image, geometry, codebooks)
    words = [assembler.word(op) for op in ops]
    columns = [
        (np.array([[word.get(name, 0)] for word in words]), bits)
        for name, bits, _, _ in reversed(PROGRAM_FIELDS)
    ]
    for (values, bits), (name, _, signed, _) in zip(columns, reversed(PROGRAM_FIELDS), strict=True):
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        assert low <= values.min() and values.max() <= high, f"program field {name} overflows"
    rows = np.concatenate([bits_of(values, width) for values, width in columns], axis=1)
    return hex_lines(rows), assembler.places


class _Assembler:
    def __init__(
        self, image: Image, geometry: Geometry, codebooks: Mapping[str, tuple[int, int]]
    ) -> None:
        self.image, self.geometry, self.codebooks = image, geometry, codebooks
        self.model = CycleModel(geometry, ())
        self.places = Places()
        self.normed = False
        self.bits = {"h": 8, "a": 8, "f": 8}

    def word(self, op: Op) -> dict[str, int]:
        geometry, shape = self.geometry, self.geometry.shape
        word = {
            "op": (OPCODES + BEHIND_OPS).index(op.name),
            "wait_": int(op.wait),
            "head": int(op.head),
        }
        match op.step:
            case None:
                if op.name == "ANGLE":
                    word["words"] = geometry.angle_words
                    word["dst_base"] = self._table(op.table) * geometry.angle_words
            case kinds.Embed():
                word["words"] = geometry.words(shape.hidden_size)
            case kinds.Norm() | kinds.Quantize():
                self.normed = isinstance(op.step, kinds.Norm)
                self.bits["h"] = op.step.activation_bits
                words = geometry.words(shape.hidden_size)
                word |= self._blocks(words, op.step.activation_bits)
                if isinstance(op.step, kinds.Norm):
                    word["gain_base"] = self.places.gain
                    word["epsilon"] = self.image.constants["norm_epsilon"]
                    self.places.gains.append((op.step.gain, False))
                    self.places.gain += words
            case kinds.HeadNorm(buffer="y"):
                words = geometry.words(shape.hidden_size)
                word |= self._blocks(words, 16)
                word["epsilon"] = self.image.constants["y_epsilon"]
                if op.name == "BADD":
                    word["gain_base"] = self.places.gain
                    self.places.gains.append((op.step.gain, False))
                    self.places.gain += words
            case kinds.HeadNorm(buffer=buffer, num_heads=heads):
                word |= self._heads(buffer, heads, 0)
                word["padded"] = self.model.issued(op)
                word["epsilon"] = self.image.constants["head_epsilon"]
                if op.name == "HAPPLY":
                    word["gain_base"] = self.places.gain
                    self.places.gains.append((op.step.gain, True))
                    self.places.gain += geometry.head_words
            case kinds.Matvec():
                word |= self._matvec(op, op.step)
            case kinds.Rope(buffer=buffer, num_heads=heads):
                word |= self._heads(buffer, heads, self._cache_of(op))
            case kinds.KvWrite(layer=layer):
                word |= self._heads("v", shape.num_key_value_heads, layer)
            case kinds.Attend(layer=layer):
                self.bits["a"] = op.step.activation_bits
                words = geometry.words(shape.width("a"))
                word |= self._blocks(words, op.step.activation_bits)
                word["kv_base"] = layer * geometry.chunks
                # A window that the context never fills is none: it need not fit a position.
                window = op.step.window or 0
                word["window"] = window if window < geometry.chip.context else 0
            case kinds.GateMul():
                self.bits["f"] = op.step.activation_bits
                words = geometry.words(shape.intermediate_size)
                word |= self._blocks(words, op.step.activation_bits)
        return word

    def _blocks(self, words: int, bits: int) -> dict[str, int]:
        return {"words": words, "padded": self.geometry.padded(words), "bits": bits}

    def _heads(self, buffer: str, heads: int, layer: int) -> dict[str, int]:
        words = self.geometry.heads(heads)
        return {
            "words": words,
            "padded": words,
            "dst_base": self._qkv_base(buffer),
            "target": TARGETS.index(buffer.upper()),
            "bits": 8,
            "kv_base": layer * self.geometry.chunks,
        }

    def _table(self, name: str | None) -> int:
        """Its place in the ROMs of angles; beyond the last one for layers that have none."""
        tables = self.image.program.rope_tables()
        return max(len(tables), 1) if name is None else tables.index(name)

    def _cache_of(self, op: Op) -> int:
        """The layer whose KvWrite follows a Rope."""
        steps = self.image.program.steps
        at = next(i for i, step in enumerate(steps) if step is op.step)
        return next(s.layer for s in steps[at:] if isinstance(s, kinds.KvWrite))

    def _qkv_base(self, buffer: str) -> int:
        shape, geometry = self.geometry.shape, self.geometry
        queries = geometry.heads(shape.num_attention_heads)
        keys = geometry.heads(shape.num_key_value_heads)
        return {"q": 0, "k": queries, "v": queries + keys}.get(buffer, 0)

    def _matvec(self, op: Op, step: kinds.Matvec) -> dict[str, int]:
        geometry, points = self.geometry, self.image.points
        entry = self.image.matrices[step.matrix]
        words = self.model.output_words(step.dst)
        rounds = geometry.rounds(words)
        passes = geometry.passes(entry["in_features"])
        normed = step.src == "h" and self.normed
        point_h = points.norm_extra if normed else points.residual
        point_in = {"a": points.a, "f": points.f, "h": point_h}[step.src]
        point_out = {
            "q": points.qk,
            "k": points.qk,
            "v": points.v,
            "g": points.gate,
            "u": points.gate,
            "x": points.residual,
            "y": points.residual,
            "logits": points.logits,
        }[step.dst]
        added = "X" if op.add else "Y"
        dst = {"q": "QKV", "k": "QKV", "v": "QKV", "y": added, "logits": "LOGITS"}
        high, low = self.codebooks[step.matrix]
        places = self.places
        places.matrices[step.matrix, step.dst] = (places.tile, places.rows, words)
        word = {
            "wide": int(op.wide),
            "planes2": int(op.planes == 2),
            "plane_shift": entry["bits"],
            "normed": int(normed),
            "add": int(op.add),
            "bias": int(step.bias is not None),
            "codebook": high,
            "codebook_low": low,
            "dst": (*DESTINATIONS, "Y").index(dst.get(step.dst, step.dst.upper())),
            "rounds": rounds,
            "passes": passes,
            "words": words,
            "dst_base": self._qkv_base(step.dst),
            "rom_base": places.tile,
            "row_base": places.rows,
            "bias_base": places.bias if step.bias is not None else 0,
            "drop_base": entry["sum_bits"] + self.bits[step.src] - 1 - PRODUCT_BITS,
            "shift_base": point_in + (NORM_FRACTION if normed else 0) - point_out,
        }
        places.tile += rounds * op.planes * passes * geometry.chip.rows
        places.rows += rounds * geometry.chip.rows
        if step.bias is not None:
            places.biases[step.bias, step.dst] = (places.bias, words)
            places.bias += rounds * geometry.chip.rows
        return word
