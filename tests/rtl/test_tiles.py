"""ROM words read back by what docs/rtl.md says of them, with no code of the writer's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardcast.chip.geometry import Geometry
from hardcast.chip.parameters import Chip
from hardcast.program.program import Shape
from hardcast.rtl.tiles import tile_words
from hardcast.rtl.words import bits_of, fields, hex_lines, hex_of_bytes
from tests.random_image import FORMS, Form, draw_matrix

SHAPE = Shape(96, 160, 1, 2, 1, 16, 100)


def read_back(
    words: np.ndarray, chip: Chip, form: Form, rows: int, columns: int, group: int, offsets: bool
) -> np.ndarray:
    """int64[rows, columns]: scale * value + offset of every weight, bit by bit from the words."""
    R, K, C, TR, B = chip.rows, chip.columns, chip.slices, chip.tile_rows, chip.bits
    fields_ = 64 // group
    codebook = form.values().astype(np.int64)
    passes = -(-columns // 64 // C) if columns % 64 == 0 else -(-(columns // 64 + 1) // C)
    result = np.zeros((rows, columns), np.int64)
    for row in range(rows):
        word_index, lane = divmod(row, TR)
        round_, slot = divmod(word_index, R)
        for column in range(columns):
            block, inside = divmod(column, 64)
            pass_, slice_ = divmod(block, C)
            step, k = divmod(inside, K)
            value, added, scale = 0, 0, 0
            for plane in range(form.planes):
                unit = ((round_ * form.planes + plane) * passes + pass_) * R
                word = int.from_bytes(words[lane, slice_, unit + step].tobytes(), "little")
                code = word >> (slot * K + k) * B & ((1 << B) - 1)
                high = form.planes == 2 and plane == 0
                value += (
                    int(codebook[code]) << form.bits
                    if high
                    else (code if form.planes == 2 else int(codebook[code]))
                )
                scales = int.from_bytes(words[lane, slice_, unit + slot].tobytes(), "little")
                scales >>= 64 * B
                field = inside // group
                scale = scales >> 8 * field & 255
                if offsets:
                    entry = scales >> 8 * fields_ + 16 * field & 0xFFFF
                    added += entry - (entry >> 15 << 16)
            result[row, column] = scale * value + added
    return result


@settings(max_examples=30, deadline=None)
@given(
    form=st.sampled_from(list(FORMS.values())),
    columns_a_lane=st.sampled_from([1, 4, 8, 16]),
    slices=st.integers(1, 3),
    lanes=st.sampled_from([1, 2, 4]),
    rows=st.integers(1, 40),
    columns=st.sampled_from([1, 33, 64, 70, 200]),
    extra_bits=st.integers(0, 2),
)
def test_every_weight_is_where_the_page_says(
    form: Form,
    columns_a_lane: int,
    slices: int,
    lanes: int,
    rows: int,
    columns: int,
    extra_bits: int,
) -> None:
    bits = min(form.bits + extra_bits, 4)
    chip = Chip("t", bits=bits, columns=columns_a_lane, slices=slices, tile_rows=lanes)
    geometry = Geometry(chip, SHAPE)
    matrix = draw_matrix(np.random.default_rng(rows), "m", (rows, columns), form)
    group = 64 if form.group_size % 64 == 0 else 32
    words = tile_words(geometry, matrix, np.arange(rows), geometry.words(rows), group, form.offsets)
    found = read_back(words, chip, form, rows, columns, group, form.offsets)
    assert np.array_equal(found, matrix.integers())


def test_padding_adds_nothing() -> None:
    """Scales and offsets beyond the matrix are 0, whatever the codes are."""
    form = FORMS["4 bits, offsets"]
    chip = Chip("t", slices=2, tile_rows=2)
    matrix = draw_matrix(np.random.default_rng(0), "m", (3, 70), form)
    words = tile_words(Geometry(chip, SHAPE), matrix, np.arange(3), 2, 32, True)
    scales = words[..., 32:34].reshape(2, 2, -1, 8, 2)  # lane, slice, unit, slot, group
    real = np.zeros_like(scales, bool)
    for row in range(3):
        real[row % 2, 0, 0, row // 2] = True
        real[row % 2, 1, 0, row // 2, 0] = True  # columns 64 to 69
    assert (scales[~real] == 0).all() and (scales[real] > 0).all()


@given(
    values=st.lists(st.lists(st.integers(-8, 7), min_size=3, max_size=3), min_size=1, max_size=5),
    width=st.sampled_from([4, 5, 7]),
)
def test_hexadecimal_lines(values: list[list[int]], width: int) -> None:
    lines = fields([(np.array(values), width)]).decode().splitlines()
    digits = -(-3 * width // 4)
    for line, row in zip(lines, values, strict=True):
        assert len(line) == digits
        word = sum((v & ((1 << width) - 1)) << width * i for i, v in enumerate(row))
        assert int(line, 16) == word


def test_bytes_and_bits_make_the_same_lines() -> None:
    words = np.random.default_rng(1).integers(0, 256, (7, 5), dtype=np.uint8)
    bits = np.unpackbits(words, axis=1, bitorder="little")
    assert hex_of_bytes(words, 40) == hex_lines(bits)
    assert bits_of(np.array([[-1]]), 3).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("width", [1, 4, 33])
def test_a_words_highest_digit_comes_first(width: int) -> None:
    line = fields([(np.array([[1]]), width)]).decode()
    assert line == "0" * (-(-width // 4) - 1) + "1\n"
