"""Matrix products in Icarus Verilog: the array of tiles, and what becomes of its sums."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hardcast.chip.parameters import Chip
from hardcast.golden import steps
from hardcast.image.matrix import Matrix
from hardcast.numerics.blocks import Blocks, quantize_blocks
from hardcast.numerics.fixed import matmul_exact, rescale, rs, saturate32
from hardcast.rtl import emit
from tests.random_image import Form, config, write_random_image
from tests.rtl.icarus import LANES, Module, constant, latency, numbers, packages, packed, unpacked

pytestmark = pytest.mark.skipif(
    shutil.which("iverilog") is None,
    reason="needs Icarus Verilog (Debian, Ubuntu: apt install iverilog)",
)

SLICES, LINES = 2, 2  # columns and rows of tiles


@pytest.mark.parametrize("bias", [True, False])
def test_rows(bias: bool, tmp_path: Path) -> None:
    """Sums of several units a round, then golden's MATVEC from the accumulator on."""
    rng = np.random.default_rng(7)
    slots, after = 8, latency("hc_rows", r"y at t \+ (\d+)")
    residual_at = latency("hc_rows", r"the residual's word, (\d+) cycles")
    names = {
        "rst_n": 1, "valid": 1, "slot": 3, "unit_first": 1, "unit_final": 1, "normed": 1,
        "drop_base": 8, "shift_base": 9, "add": 1, "has_bias": 1, "sums": LANES * 48,
        "max_exp": 5, "r": 17, "halfshift": 7, "row_word": LANES * 16, "bias_word": LANES * 32,
        "residual": LANES * 32,
    }  # fmt: skip
    length, rounds = 4 * slots + after + 4, 40
    stimuli = {name: [int(name == "rst_n")] * (rounds * length) for name in names}
    stimuli["rst_n"][:2] = [0, 0]
    wanted: dict[int, list[int]] = {}
    for index in range(rounds):
        start, units = index * length + 2, int(rng.integers(1, 4))
        normed, add, has_bias = (int(rng.integers(0, 2)) for _ in range(3))
        bits, max_exp = int(rng.integers(8, 46)), int(rng.integers(0, 31))
        r = int(rng.integers(1 << 15, (1 << 16) + 1)) if normed else 1
        halfshift = int(rng.integers(-16, 25))
        sums = numbers(rng, bits, units * slots * LANES).reshape(units, slots, LANES)
        acc = sums.sum(axis=0)
        drop_base = max(int(np.abs(acc).max()).bit_length() - 36, 0) - max_exp
        drop_base -= int(rng.integers(0, 2)) * (max_exp + drop_base == 0)  # below zero: none
        drop = max(max_exp + drop_base, 0)
        multiplier = rng.integers(0, 256, (slots, LANES))
        scaled = rs(acc, drop) * multiplier * r
        # what golden/bounds.py promises: shifted left it stays below 2^61
        least = max(int(np.abs(scaled).max()).bit_length() - 61, -31)
        k = rng.integers(least, 63, (slots, LANES))
        shift_base = int(rng.integers(-40, 40)) + drop
        row_shift = np.clip(k - shift_base + drop - normed * halfshift, -64, 63)
        k = row_shift + shift_base + normed * halfshift - drop
        row_shift += np.maximum(least - k, 0)
        assert row_shift.max() < 64
        k = np.maximum(k, least)
        biases = numbers(rng, 32, slots * LANES).reshape(slots, LANES)
        more = numbers(rng, 32, slots * LANES).reshape(slots, LANES)
        y = saturate32(rescale(scaled, k) + biases * (has_bias if bias else 0))
        y = steps.add(y, more) if add else y
        for name, value in (
            ("normed", normed), ("drop_base", drop_base), ("shift_base", shift_base), ("add", add),
            ("has_bias", has_bias), ("max_exp", max_exp), ("r", r), ("halfshift", halfshift),
        ):  # fmt: skip
            stimuli[name][start - 2 : start - 2 + length] = [value] * length
        for unit in range(units):
            for slot in range(slots):
                now = start + unit * slots + slot
                stimuli["valid"][now], stimuli["slot"][now] = 1, slot
                stimuli["unit_first"][now] = int(unit == 0)
                stimuli["unit_final"][now] = int(unit == units - 1)
                stimuli["sums"][now] = packed(sums[unit, slot], 48)
        for slot in range(slots):
            now = start + (units - 1) * slots + slot
            rows = multiplier[slot] | (row_shift[slot] & 127) << 8
            stimuli["row_word"][now + 1] = packed(rows, 16)
            stimuli["bias_word"][now + 1] = packed(biases[slot], 32)
            stimuli["residual"][now + residual_at] = packed(more[slot], 32)
            wanted[now + after] = y[slot].tolist()
    made = Module("hc_rows", packages(bias=bias), names, {"out_valid": 1, "y": LANES * 32})
    seen = made.run(stimuli, tmp_path)
    assert [n for n, valid in enumerate(seen["out_valid"]) if valid == 1] == list(wanted)
    for now, row in wanted.items():
        assert unpacked(seen["y"][now], LANES, 32) == row


class Array:
    """hc_array of a design, cycle by cycle; 2 slices, 2 tile rows."""

    def __init__(self, design: emit.Design) -> None:
        self.design, self.users = design, design.geometry.chip.users
        texts = emit.source_texts(design)
        self.packages = {name: text for name, text in texts.items() if "_pkg" in name}
        size = self._size
        self.rows = size("R")
        side = self.users * SLICES
        self.inputs = {
            "rst_n": 1, "valid": 1, "first": 1, "half": 1, "last": 1, "wide": 1, "low": 1,
            "add_shift": 4, "codebook": size("CB_AW"), "slice_addr": size("SLICE_AW"),
            "rom_addr": size("ROM_AW"), "block_we": side, "block_addr": side * size("SLICE_AW"),
            "block_codes": side * 64 * size("XW"), "block_exp": side * 5,
        }  # fmt: skip
        self.stimuli: dict[str, list[int]] = {name: [0] * 3 for name in self.inputs}

    def _size(self, name: str) -> int:
        return constant(self.packages["hardcast_pkg.sv"], name)

    def cycle(self, **values: int) -> int:
        """One cycle with these inputs, the others 0; when its sums are there."""
        for name in self.inputs:
            self.stimuli[name].append(values.get(name, int(name == "rst_n")))
        return len(self.stimuli["valid"]) - 1 + self._size("ARRAY_LATENCY")

    def write(self, vectors: list[Blocks]) -> None:
        """Every user's vector into the slice buffers: block g into slice g mod 2."""
        count = vectors[0].exponents.shape[1]
        for depth in range(-(-count // SLICES)):
            codes = np.zeros((self.users, SLICES, 64), np.int64)
            exponents = np.zeros((self.users, SLICES), np.int64)
            for user, vector in enumerate(vectors):
                for column, block in enumerate(range(depth * SLICES, depth * SLICES + SLICES)):
                    part = vector.codes[0, block * 64 : block * 64 + 64]
                    codes[user, column, : len(part)] = part
                    if block < count:
                        exponents[user, column] = vector.exponents[0, block]
            self.cycle(
                block_we=(1 << self.users * SLICES) - 1,
                block_addr=packed([depth] * (self.users * SLICES), self._size("SLICE_AW")),
                block_codes=packed(codes.ravel(), self._size("XW")),
                block_exp=packed(exponents.ravel(), 5),
            )

    def sweep(self, matrix: Matrix, wide: bool, unit: int, words: int) -> dict[int, list[int]]:
        """A matrix from ROM word `unit` on: for each word of rows, when parts of its sums come."""
        books = [tuple(book) for book in self.design.codebooks]
        two = matrix.planes == 2
        high = books.index(tuple(int(v) for v in matrix.codebook))
        low = books.index(tuple(range(1 << matrix.bits))) if two else high
        passes = self.design.geometry.passes(matrix.in_features)
        sums: dict[int, list[int]] = {}
        for turn in range(self.design.geometry.rounds(words)):
            for plane, depth in product(range(matrix.planes), range(passes)):
                for act, step in product(range(1 + wide), range(self.rows)):
                    shift = (matrix.bits if two and not plane else 0) + (7 if wide > act else 0)
                    when = self.cycle(
                        valid=1, first=int(step == 0), half=int(step == self.rows // 2 - 1),
                        last=int(step == self.rows - 1), wide=int(wide), low=act,
                        add_shift=shift, codebook=low if plane else high, slice_addr=depth,
                        rom_addr=unit + step,
                    )  # fmt: skip
                    sums.setdefault(turn * self.rows + step, []).append(when)
                unit += self.rows
        for _ in range(4):
            self.cycle()
        return sums

    def run(self, folder: Path) -> np.ndarray:
        """object[cycles, users, TR]: the sums, None where unknown."""
        for _ in range(self._size("ARRAY_LATENCY") + 2):
            self.cycle()
        bits, count = self._size("ACC_W"), self.users * LINES
        module = Module("hc_array", self.packages, self.inputs, {"sums": count * bits})
        seen = module.run(self.stimuli, folder)["sums"]
        rows = [unpacked(word, count, bits) if word >= 0 else [None] * count for word in seen]
        return np.array(rows, object).reshape(-1, self.users, LINES)


@pytest.mark.parametrize(
    ("bits", "forms", "users"),
    [
        (4, (Form(), Form(planes=2, offsets=False)), 1),
        (3, (Form(3, 1, 64, False, (-8, -5, -3, -1, 1, 3, 5, 8)), Form(3, 2, 64, False)), 2),
    ],
)
def test_array(bits: int, forms: tuple[Form, ...], users: int, tmp_path: Path) -> None:
    """Slices, tiles, ROM words and adder tree: every row's accumulator of four matrices."""
    model = config(head_dim=8, hidden_size=160, intermediate_size=96, num_hidden_layers=1)
    chip = Chip(
        "array", bits=bits, columns=32 // users, slices=SLICES, tile_rows=LINES, users=users,
        context=16, broadcast_stages=1, gather_stages=users - 1,
    )  # fmt: skip
    image = write_random_image(tmp_path / "a.image", model, forms=forms, seed=users, skew=3)
    made = emit.design(image, chip)
    (tmp_path / "rom").mkdir()
    emit.write_rom(made, tmp_path / "rom")
    array, rng = Array(made), np.random.default_rng(8)
    checks = []
    for (name, dst), (base, _, words) in list(made.places.matrices.items())[-4:]:
        matrix = image.matrix(name)
        activation = 10 if dst == "logits" else 8
        vectors = [
            quantize_blocks(numbers(rng, 30, matrix.in_features)[None], activation)
            for _ in range(users)
        ]
        acc = [matmul_exact(vector.values, matrix.integers())[0] for vector in vectors]
        array.write(vectors)
        sums = array.sweep(matrix, activation > 8, base, words)
        checks.append((sums, emit._positions(made, dst, matrix.out_features), acc))
    seen = array.run(tmp_path)
    for sums, places, acc in checks:
        rows = np.array([seen[cycles].sum(axis=0) for _, cycles in sorted(sums.items())])
        found = rows.transpose(1, 0, 2).reshape(users, -1)[:, places]
        assert np.array_equal(found.astype(np.int64), np.array(acc))
