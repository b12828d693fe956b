"""Every native path equals a plain int64 matrix product, bit for bit.

HARDCAST_NATIVE_MODULE names another build of the module to test instead of the installed one:
`make verify` uses it for a build whose foreign instruction sets are emulated (emulated_paths.py).
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BLOCK = 64


def native_module() -> ModuleType:
    path = os.environ.get("HARDCAST_NATIVE_MODULE")
    if path is None:
        import hardcast.engine._native as installed

        return installed
    spec = importlib.util.spec_from_file_location("_native", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


native = native_module()
PATHS: list[str] = native.available_paths()


@dataclass
class Case:
    """One matrix in image form, and its integers int64[out, in]."""

    codes: np.ndarray  # uint8[planes, out, ceil(in * bits / 8)]
    codebook: np.ndarray
    bits: int
    in_features: int
    group_size: int
    scales: np.ndarray
    offsets: np.ndarray | None
    integers: np.ndarray

    def pack(self) -> Any:
        return native.pack(
            self.codes,
            self.codebook,
            self.bits,
            self.in_features,
            self.group_size,
            self.scales,
            self.offsets,
        )


def pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """uint8[..., in] codes -> uint8[..., ceil(in * bits / 8)], little-endian bit order."""
    spread = (codes[..., None] >> np.arange(bits, dtype=np.uint8)) & 1
    flat = spread.reshape(*codes.shape[:-1], -1)
    return np.packbits(flat, axis=-1, bitorder="little")


def make_case(
    rng: np.random.Generator,
    out_features: int,
    in_features: int,
    *,
    bits: int = 4,
    planes: int = 1,
    group_size: int = 32,
    codebook: np.ndarray | None = None,
    offsets: str = "none",
    extreme: bool = False,
) -> Case:
    levels = 1 << bits
    if codebook is None:
        codebook = np.arange(levels) - (levels // 2 if planes == 2 or bits == 8 else 0)
    codebook = codebook.astype(np.int16)
    shape = (planes, out_features, in_features)
    codes = rng.integers(0, levels, shape, dtype=np.uint8)
    groups = -(-in_features // group_size)
    scales = rng.integers(0, 256, (out_features, groups), dtype=np.uint8)
    stored = None
    if offsets == "small":
        stored = rng.integers(-4000, 1, scales.shape).astype(np.int16)
    elif offsets == "any":
        stored = rng.integers(-32768, 32768, scales.shape).astype(np.int16)
    if extreme:  # every row at one end or the other: the largest sums that the format allows
        high = rng.integers(0, 2, (1, out_features, 1)).astype(bool)
        codes = np.where(high, levels - 1, 0).astype(np.uint8) * np.ones(shape, np.uint8)
        scales[:] = 255
        if stored is not None:
            stored[:] = np.where(high[0], 32767, -32768)
    value = codebook.astype(np.int64)[codes[0]]
    if planes == 2:
        value = value * levels + codes[1]
    wide = np.repeat(np.arange(groups), group_size)[:in_features]
    integers = scales.astype(np.int64)[:, wide] * value
    if stored is not None:
        integers += stored.astype(np.int64)[:, wide]
    packed = pack_bits(codes, bits)
    return Case(packed, codebook, bits, in_features, group_size, scales, stored, integers)


def make_input(
    rng: np.random.Generator, case: Case, tokens: int, bits: int, max_exponent: int
) -> tuple[np.ndarray, np.ndarray]:
    """x int16[tokens, in] with both extremes frequent, exponents uint8[tokens, blocks]."""
    top = 1 << (bits - 1)
    x = rng.integers(-top, top, (tokens, case.in_features))
    for t in range(tokens):
        kind = rng.integers(4)
        if kind == 1:
            x[t] = -top
        elif kind == 2:
            x[t] = top - 1
    blocks = -(-case.in_features // BLOCK)
    exponents = rng.integers(0, max_exponent + 1, (tokens, blocks)).astype(np.uint8)
    return x.astype(np.int16), exponents


def reference(case: Case, x: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """int64[tokens, out], the definition: sum over blocks of (x . w) << exponent."""
    shifts = np.repeat(exponents.astype(np.int64), BLOCK, axis=1)[:, : case.in_features]
    return (x.astype(np.int64) << shifts) @ case.integers.T


def largest_exponent(case: Case, bits: int) -> int:
    """The largest exponent for which no sum can leave int64, at most 31."""
    total = int(np.abs(case.integers).sum(axis=1).max()) << (bits - 1)
    return min(31, 62 - total.bit_length())


def check_equal(case: Case, x: np.ndarray, exponents: np.ndarray, bits: int, threads: int) -> None:
    expected = reference(case, x, exponents)
    matrix = case.pack()
    for path in PATHS:
        got = native.matmul(matrix, x, exponents, bits, path, threads)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, expected, err_msg=path)
    for row in {0, matrix.rows // 2, matrix.rows - 1}:
        np.testing.assert_array_equal(matrix.row(row), case.integers[row])


# name -> what make_case takes: every code form of the image format, every packed kind, and levels
# at both ends of what each kernel may be given.
FORMS: dict[str, dict[str, Any]] = {
    "asymmetric 4-bit": {"bits": 4},
    "symmetric 4-bit": {"bits": 4, "codebook": np.arange(16) - 8},
    "shifted 4-bit": {"bits": 4, "codebook": np.arange(16) - 128},
    "uneven 4-bit": {
        "bits": 4,
        "codebook": np.array([-21, -16, -12, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 12, 16, 21]),
    },
    "int8 codebook": {"bits": 4, "codebook": np.linspace(-128, 127, 16).round()},
    "3-bit": {"bits": 3, "codebook": np.arange(8) - 4},
    "uneven 3-bit": {"bits": 3, "codebook": np.array([-14, -9, -5, -2, 2, 5, 9, 14])},
    "widest run of 4": {"bits": 3, "codebook": np.array([-16, -9, -5, -2, 2, 5, 9, 15])},
    "narrowest run of 2": {"bits": 3, "codebook": np.array([-16, -9, -5, -2, 2, 5, 9, 16])},
    "widest run of 2": {"bits": 4, "codebook": np.linspace(-63, 0, 16).round()},
    "narrowest words": {"bits": 4, "codebook": np.linspace(-1, 63, 16).round()},
    "unordered": {"bits": 3, "codebook": np.array([1, -1, 3, -3, 5, -5, 8, -8])},
    "ternary": {"bits": 2, "codebook": np.array([-1, 0, 1, 1])},
    "uneven 5-bit": {"bits": 5, "codebook": np.arange(32) ** 2 // 10 - 31},
    "5-bit": {"bits": 5, "codebook": np.arange(32) - 16},
    "4/8-bit planes": {"bits": 4, "planes": 2},
    "3/6-bit planes": {"bits": 3, "planes": 2},
    "2/4-bit planes": {"bits": 2, "planes": 2},
    "uneven 3/6-bit planes": {
        "bits": 3,
        "planes": 2,
        "codebook": np.array([-4, -3, -2, -1, 0, 1, 2, 2]),
    },
    "wide 3/6-bit planes": {
        "bits": 3,
        "planes": 2,
        "codebook": np.array([-16, -9, -5, -2, 2, 5, 9, 15]),
    },
    "8-bit": {"bits": 8},
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_paths_equal_reference(form: str, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    case = make_case(
        rng,
        data.draw(st.integers(1, 100), label="out_features"),
        data.draw(st.integers(1, 300), label="in_features"),
        group_size=data.draw(st.sampled_from([32, 64]), label="group_size"),
        offsets=data.draw(st.sampled_from(["none", "small", "any"]), label="offsets"),
        extreme=data.draw(st.booleans(), label="extreme"),
        **FORMS[form],
    )
    bits = data.draw(st.sampled_from([8, 8, 9, 10, 11, 12, 13, 14, 15]), label="bits")
    tokens = data.draw(st.integers(1, 9), label="tokens")
    cap = data.draw(st.integers(0, largest_exponent(case, bits)), label="max_exponent")
    x, exponents = make_input(rng, case, tokens, bits, cap)
    check_equal(case, x, exponents, bits, data.draw(st.integers(1, 2), label="threads"))


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize("end", ["lowest", "highest"])
@pytest.mark.parametrize("form", FORMS)
def test_extremes_do_not_overflow(form: str, end: str, bits: int) -> None:
    """All weights, scales, offsets and inputs at an end at once, up to 11 blocks."""
    rng = np.random.default_rng(3)
    for offsets in ("none", "any"):
        case = make_case(rng, 35, 700, offsets=offsets, extreme=True, **FORMS[form])
        top = 1 << (bits - 1)
        x = np.full((5, 700), -top if end == "lowest" else top - 1, np.int16)
        x[3, ::2] = top - 1
        exponents = np.full((5, 11), min(5, largest_exponent(case, bits)), np.uint8)
        check_equal(case, x, exponents, bits, 1)


@pytest.mark.parametrize("bits", [8, 10, 15])
def test_exponent_31(bits: int) -> None:
    """2^31 does not fit a signed 32-bit multiplier: such inputs take another way."""
    rng = np.random.default_rng(4)
    case = make_case(rng, 20, 130, codebook=np.arange(16) - 8)
    case.scales[:] = 1
    case.integers = case.codebook.astype(np.int64)[np.zeros((20, 130), np.int64)]
    case.codes[:] = 0
    x, exponents = make_input(rng, case, 3, bits, 31)
    exponents[:, 0] = 31
    exponents[:, 1] = 0
    check_equal(case, x, exponents, bits, 1)


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5, 8, 9, 16, 17, 63, 64, 65, 130])
@pytest.mark.parametrize(("form", "bits"), [("asymmetric 4-bit", 8), ("8-bit", 10)])
def test_token_counts_and_threads(tokens: int, form: str, bits: int) -> None:
    """Streams, register blocks, chunks and the tails of each; more threads than tiles."""
    rng = np.random.default_rng(tokens)
    case = make_case(rng, 90, 200, offsets="small", **FORMS[form])
    x, exponents = make_input(rng, case, tokens, bits, 13)
    for threads in (1, 2, 3, 9):
        check_equal(case, x, exponents, bits, threads)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 64, 80, 112, 113, 1023, 1040, 1056, 1072, 2100])
def test_row_counts(rows: int) -> None:
    """Any number of tiles in the four streams, and short last tiles."""
    rng = np.random.default_rng(rows)
    case = make_case(rng, rows, 96, offsets="small")
    x, exponents = make_input(rng, case, 2, 8, 7)
    check_equal(case, x, exponents, 8, 1)


def test_kinds_are_as_small_as_they_can_be() -> None:
    rng = np.random.default_rng(0)

    def packed(**form: Any) -> Any:
        return make_case(rng, 16, 64, **form).pack()

    asymmetric = packed(offsets="small")
    assert (asymmetric.kind, asymmetric.bytes) == ("U4", 608)  # 4.75 bits a weight
    symmetric = packed(codebook=np.arange(16) - 8)
    assert (symmetric.kind, symmetric.bytes, symmetric.zero) == ("U4", 544, -8)
    folded = packed(codebook=np.arange(16) - 8, offsets="small")
    assert (folded.kind, folded.bytes, folded.zero) == ("U4", 608, 0)
    assert packed(**FORMS["8-bit"]).bytes == 1056
    for form in ("uneven 4-bit", "int8 codebook"):
        uneven = packed(**FORMS[form])
        assert (uneven.kind, uneven.bytes) == ("L4", 544)
    for form in ("3-bit", "uneven 3-bit", "ternary"):
        narrow = packed(**FORMS[form])
        assert (narrow.kind, narrow.bytes) == ("L3", 416)  # 3.25 bits a weight
    planes = packed(**FORMS["3/6-bit planes"])
    assert (planes.kind, planes.bytes, planes.zero) == ("U6", 800, -32)
    assert packed(**FORMS["2/4-bit planes"]).kind == "U4"
    assert packed(**FORMS["uneven 3/6-bit planes"]).kind == "U8"


def test_unknown_path_names_the_available_ones() -> None:
    rng = np.random.default_rng(0)
    case = make_case(rng, 16, 64)
    x, exponents = make_input(rng, case, 1, 8, 0)
    with pytest.raises(ValueError, match="'mmx' cannot run here.*portable"):
        native.matmul(case.pack(), x, exponents, 8, "mmx")


def test_refuses_what_the_format_does_not_hold() -> None:
    rng = np.random.default_rng(0)
    outside = make_case(rng, 16, 64, codebook=np.arange(16) * 20)
    outside.codes[:] = 255
    with pytest.raises(ValueError, match="outside -128..127"):
        outside.pack()
    case = make_case(rng, 16, 64)
    case.group_size = 48
    with pytest.raises(ValueError, match="multiple of 32"):
        case.pack()
    case = make_case(rng, 16, 64)
    x, exponents = make_input(rng, case, 1, 8, 0)
    with pytest.raises(ValueError, match="exceeds its bits"):
        native.matmul(case.pack(), x + np.int16(300), exponents, 8)
