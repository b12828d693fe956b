"""The weight form: codes, planes, groups and offsets against a scalar reading of the definition."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.errors import HardcastError
from hardcast.image import matrix as matrix_module
from hardcast.image.matrix import Matrix, pack_codes, stack_rows, unpack_codes
from tests.random_image import Form, draw_matrix


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    """Every form that the format allows, with sizes that nothing divides."""
    bits, planes = draw(st.sampled_from([2, 3, 4])), draw(st.sampled_from([1, 2]))
    # The high plane of two stands for multiples of 2^bits: the value must stay within int8.
    low, high = (-128 >> bits, 127 >> bits) if planes == 2 else (-128, 127)
    size = 1 << bits
    codebook = draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
    form = Form(bits, planes, draw(st.sampled_from([32, 64])), draw(st.booleans()), tuple(codebook))
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 150)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = draw_matrix(rng, "w", shape, form)
    scales = rng.integers(0, 256, made.scales.shape).astype(np.uint8)
    offsets = made.offsets
    if offsets is not None:
        offsets = rng.integers(-(1 << 15), 1 << 15, offsets.shape).astype(np.int16)
    return dataclasses.replace(made, scales=scales, offsets=offsets)


def read_bits(row: bytes, index: int, bits: int) -> int:
    """Code `index` of a packed row: little-endian bit order, as docs/image_format.md says."""
    return (int.from_bytes(row, "little") >> (index * bits)) & ((1 << bits) - 1)


def scalar_integers(m: Matrix) -> list[list[int]]:
    rows = []
    for row in range(m.out_features):
        planes = [m.codes[p, row].tobytes() for p in range(m.planes)]
        found = []
        for i in range(m.in_features):
            value = int(m.codebook[read_bits(planes[0], i, m.bits)])
            if m.planes == 2:
                value = value * (1 << m.bits) + read_bits(planes[1], i, m.bits)
            assert -128 <= value <= 127
            group = i // m.group_size
            offset = 0 if m.offsets is None else int(m.offsets[row, group])
            found.append(int(m.scales[row, group]) * value + offset)
        rows.append(found)
    return rows


@given(matrices())
def test_integers_are_what_the_format_says(m: Matrix) -> None:
    m.check()
    expected = scalar_integers(m)
    assert m.integers().tolist() == expected
    assert m.values().dtype == np.int8
    largest = max(sum(abs(w) for w in row) for row in expected)
    assert m.sum_bits() == largest.bit_length()


@given(matrices())
def test_rom_bits_count_every_stored_bit(m: Matrix) -> None:
    bits = m.out_features * m.in_features * m.planes * m.bits
    bits += m.scales.size * 8 + m.out_features * (8 + 16)
    assert m.rom_bits == bits + (0 if m.offsets is None else m.offsets.size * 16)


@given(matrices(), st.data())
def test_rows_can_be_taken_and_put_together(m: Matrix, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, m.out_features))
    parts = [m.select(slice(0, cut)), m.select(slice(cut, None))]
    whole = stack_rows([part for part in parts if part.out_features])
    whole.check()
    for name in (field.name for field in dataclasses.fields(Matrix)):
        assert np.array_equal(getattr(whole, name), getattr(m, name)), name
    order = np.array(data.draw(st.permutations(range(m.out_features))))
    assert (m.select(order).integers() == m.integers()[order]).all()


def test_chunks_cover_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_module, "CHUNK_WEIGHTS", 100)
    m = draw_matrix(np.random.default_rng(0), "w", (23, 40), Form())
    parts = list(m.chunks())
    assert [part.out_features for part in parts] == [2] * 11 + [1]
    assert (np.concatenate([part.integers() for part in parts]) == m.integers()).all()
    whole = m.integers()
    assert m.sum_bits() == int(np.abs(whole).sum(axis=1).max()).bit_length()


def packbits(codes: np.ndarray, bits: int) -> np.ndarray:
    """The layout as NumPy's packbits defines it: every code's bits one after another."""
    spread = (codes[..., None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(spread.reshape(*codes.shape[:-1], -1), axis=-1, bitorder="little")


@given(
    st.sampled_from([2, 3, 4]),
    st.integers(1, 70),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 100, 1 << 16]),
)
def test_pack_and_unpack(bits: int, count: int, rows: int, seed: int, block: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (2, rows, count), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(matrix_module, "BLOCK_WEIGHTS", block)
        packed = pack_codes(codes, bits)
        assert packed.shape == (2, rows, -(-count * bits // 8)) and packed.flags.c_contiguous
        assert (packed == packbits(codes, bits)).all()
        assert (unpack_codes(packed, bits, count) == codes).all()
        turned = np.asfortranarray(codes)  # codes need not lie row by row
        assert (pack_codes(turned, bits) == packed).all()
        assert (unpack_codes(np.asfortranarray(packed), bits, count) == codes).all()


@pytest.mark.parametrize("in_features", [(1 << 15) - 1, 1 << 15, 40000])
def test_the_largest_sums_of_a_row_are_counted(in_features: int) -> None:
    form = Form(offsets=True, codebook=(-128,) * 16)
    drawn = draw_matrix(np.random.default_rng(0), "w", (1, in_features), form)
    assert drawn.offsets is not None
    extreme = dataclasses.replace(
        drawn,
        scales=np.full_like(drawn.scales, 255),
        offsets=np.full_like(drawn.offsets, -(1 << 15)),
    )
    assert extreme.sum_bits() == (in_features * (128 * 255 + (1 << 15))).bit_length()


def good() -> Matrix:
    return draw_matrix(np.random.default_rng(0), "layers.0.q_proj", (6, 70), Form())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 5}, "1 planes of 5 bits unsupported"),
        ({"bits": 1}, "1 planes of 1 bits unsupported"),
        ({"bits": 1 << 40}, "bits unsupported"),
        ({"bits": -4}, "bits unsupported"),
        ({"planes": 3}, "3 planes of 4 bits unsupported"),
        ({"planes": 0}, "0 planes of 4 bits unsupported"),
        ({"group_size": 48}, "group_size 48 is no multiple of 32"),
        ({"group_size": 0}, "group_size 0 is no multiple of 32"),
        ({"group_size": -32}, "group_size -32 is no multiple of 32"),
        ({"group_size": 64}, r"scales is uint8\[6, 3\], expected uint8\[6, 2\]"),
        ({"out_features": 7}, r"codes is uint8\[1, 6, 35\], expected uint8\[1, 7, 35\]"),
        ({"in_features": 90}, r"codes is uint8\[1, 6, 35\], expected uint8\[1, 6, 45\]"),
        ({"in_features": 0}, "has no rows or no columns"),
        ({"out_features": 0}, "has no rows or no columns"),
        ({"codebook": np.arange(15, dtype=np.int16)}, r"codebook is int16\[15\]"),
        ({"codebook": np.full(16, 200, np.int16)}, "codebook values 200..200 exceed int8"),
        ({"codebook": np.full(16, -129, np.int16)}, "exceed int8"),
        ({"offsets": np.zeros((6, 3), np.int32)}, r"offsets is int32\[6, 3\], expected int16"),
        ({"row_shift": np.full(6, 41, np.int16)}, "row_shift is outside -16..40"),
        ({"row_shift": np.full(6, -17, np.int16)}, "row_shift is outside -16..40"),
        ({"row_multiplier": np.full(6, 127, np.uint8)}, "row_multiplier is outside 128..255"),
    ],
)
def test_check_names_the_matrix_and_the_fault(change: dict[str, Any], message: str) -> None:
    with pytest.raises(HardcastError, match=f"layers.0.q_proj: .*{message}") as caught:
        dataclasses.replace(good(), **change).check()
    assert "\n" not in str(caught.value)


def test_two_planes_must_stay_within_int8() -> None:
    form = Form(bits=4, planes=2, codebook=tuple(range(-8, 8)))
    m = draw_matrix(np.random.default_rng(0), "w", (3, 40), form)
    m.check()
    with pytest.raises(HardcastError, match="codebook values -128..143 exceed int8"):
        dataclasses.replace(m, codebook=np.append(m.codebook[:-1], np.int16(8))).check()
