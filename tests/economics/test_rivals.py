"""Rivals and rooflines: every published figure lies under its own, every refused one above."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardcast.economics.rivals import (
    ROM,
    Claim,
    Rival,
    get_rival,
    load_rival,
    rival_names,
    same_sizes,
)
from hardcast.economics.roofline import (
    LENGTHS,
    Machine,
    batched_bound,
    bound_of,
    devices_needed,
    kv_bytes,
    machine,
    one_user_bound,
    operations,
    read_weights,
    reckon_batched,
    reckon_one_user,
    roofline_figures,
    served_precision,
    stored_bytes,
)
from hardcast.errors import HardcastError
from hardcast.models.shapes import NamedShape, get_shape, shape_names

EIGHT = get_shape("llama-3.1-8b")
SEVENTY = get_shape("llama-3.1-70b")
GPUS = ("h100", "h200", "b200")


def claims(rival: Rival) -> list[Claim]:
    return [*rival.users, *rival.batched]


ACCEPTED = [(name, claim) for name in rival_names() for claim in claims(get_rival(name))]
REFUSED = [(name, claim) for name in rival_names() for claim in get_rival(name).refused]


def called(pair: tuple[str, Claim]) -> str:
    name, claim = pair
    lengths = "" if claim.lengths is None else "-{}x{}".format(*claim.lengths)
    return f"{name}-{claim.model}-{claim.precision}{lengths}"


@pytest.mark.parametrize("name", rival_names())
def test_every_file_loads(name: str) -> None:
    rival = get_rival(name)
    assert rival.name == name and rival.title
    assert rival.users or rival.batched


def test_those_that_everybody_asks_for_are_there() -> None:
    asked = "h100 h200 b200 groq cerebras etched taalas-hc1 hnlpu roma sambanova".split()
    assert set(asked) <= set(rival_names())


@pytest.mark.parametrize(("name", "claim"), ACCEPTED, ids=map(called, ACCEPTED))
def test_published_lies_under_its_roofline(name: str, claim: Claim) -> None:
    bound = bound_of(get_rival(name), claim)
    if bound is not None:
        assert claim.figure.high[0] <= bound


@pytest.mark.parametrize(("name", "claim"), REFUSED, ids=map(called, REFUSED))
def test_refused_lies_above_its_roofline(name: str, claim: Claim) -> None:
    bound = bound_of(get_rival(name), claim)
    assert bound is not None and claim.figure.value[0] > bound


def test_every_gpu_figure_of_a_known_shape_has_a_roofline() -> None:
    checked = [
        bound_of(get_rival(name), claim)
        for name, claim in ACCEPTED
        if name in GPUS and claim.model in shape_names()
    ]
    assert len(checked) > 25 and None not in checked


def test_two_thousand_for_one_user_of_a_b200_would_be_caught() -> None:
    b200 = get_rival("b200")
    refused = next(claim for claim in b200.refused if claim.figure.value[0] == 2000)
    accepted = b200.user_claims(EIGHT)[0]
    smuggled = dataclasses.replace(accepted, figure=refused.figure)
    bound = bound_of(b200, smuggled)
    assert bound is not None and accepted.figure.value[0] < bound < smuggled.figure.value[0]


def test_no_roofline_where_weights_are_in_rom() -> None:
    assert bound_of(get_rival("taalas-hc1"), get_rival("taalas-hc1").users[0]) is None
    with pytest.raises(HardcastError, match="no roofline"):
        machine(get_rival("taalas-hc1"), ROM, 1)


@pytest.mark.parametrize("name", GPUS)
def test_reckoned_is_near_what_is_published(name: str) -> None:
    rival = get_rival(name)
    claim = rival.user_claims(EIGHT)[0].figure
    reckoned = reckon_one_user(rival, EIGHT)
    assert reckoned is not None and reckoned.low < claim.value[0] < reckoned.high
    assert reckoned.value == pytest.approx(claim.value[0], rel=0.2)
    for shape in (EIGHT, SEVENTY):
        full = rival.batched_claim(shape, LENGTHS)
        batched = reckon_batched(rival, shape)
        if full is not None and batched is not None and full.devices is None:
            assert batched.low < full.figure.value[0] < batched.high


def test_reckoned_by_hand() -> None:
    h100, cerebras = get_rival("h100"), get_rival("cerebras")
    reading = 7_504_924_672 / (3.35e12 * 0.91)
    found = reckon_one_user(h100, EIGHT)
    assert found is not None and found.value == pytest.approx(1 / (reading + 32 * 68e-6))
    wafer = reckon_one_user(cerebras, EIGHT)
    assert wafer is not None and wafer.value == pytest.approx(1e6 / (32 * 20), rel=0.01)
    assert reckon_batched(cerebras, EIGHT) is None
    assert reckon_one_user(get_rival("etched"), EIGHT) is None


def test_bytes_and_operations_by_hand() -> None:
    assert read_weights(EIGHT) == 8_030_261_248 - 128_256 * 4096
    assert read_weights(get_shape("smollm2-135m")) == 134_515_008  # tied: the head reads it all
    assert stored_bytes(EIGHT, 16) == 16_060_522_496
    assert kv_bytes(EIGHT, 8) == 65_536
    body, head = 7_504_924_672 - 128_256 * 4096, 128_256 * 4096
    attention = 4 * 32 * 32 * 128 * (1000**2 / 2 + 1000 * 1500) / 1000
    assert operations(EIGHT, (1000, 1000)) == pytest.approx(4 * body + 2 * head + attention)


def test_h100_rooflines_by_hand() -> None:
    bf16 = Machine(1, 80e9, 3.35e12, 989.4e12, 16, 16)
    assert one_user_bound(EIGHT, bf16) == pytest.approx(3.35e12 / (2 * 7_504_924_672))
    kept = one_user_bound(EIGHT, bf16, 1000)
    assert kept == pytest.approx(3.35e12 / (2 * 7_504_924_672 + 1000 * 131_072))
    assert batched_bound(SEVENTY, bf16, LENGTHS) == 0  # its weights alone fill more


@pytest.mark.parametrize(
    ("name", "precision", "shape", "devices"),
    [
        ("groq", "int8", EIGHT, 36),
        ("cerebras", "bf16", EIGHT, 1),
        ("cerebras", "bf16", SEVENTY, 4),
        ("h100", "fp8", EIGHT, 1),
        ("h100", "bf16", SEVENTY, 2),
    ],
)
def test_devices_that_a_model_needs(
    name: str, precision: str, shape: NamedShape, devices: int
) -> None:
    assert machine(get_rival(name), precision, shape=shape).devices == devices


def test_any_precision_is_taken_for_the_one_of_fewest_bits() -> None:
    assert served_precision(get_rival("b200"), "any") == "fp4"
    assert served_precision(get_rival("h200"), "any") in ("fp8", "int8")
    assert served_precision(get_rival("h200"), "bf16") == "bf16"


amounts = st.floats(1.1, 100)


@given(st.integers(1, 4000), st.integers(1, 4000), amounts)
def test_more_memory_never_slows_a_full_device(given_: int, made: int, factor: float) -> None:
    small = Machine(1, 20e9, 1e12, 1e15, 8, 8)
    large = dataclasses.replace(small, memory_bytes=20e9 * factor)
    bound = float(batched_bound(EIGHT, large, (given_, made)))
    assert float(batched_bound(EIGHT, small, (given_, made))) <= bound * (1 + 1e-12)
    assert bound <= 1e15 / operations(EIGHT, (given_, made)) * (1 + 1e-12)


@given(amounts, st.integers(1, 4000))
def test_a_machine_twice_as_fast_is_twice_as_fast(factor: float, context: int) -> None:
    slow = Machine(2, 80e9, 1e12, 1e14, 8, 8)
    fast = dataclasses.replace(slow, memory_bytes_s=1e12 * factor, peak_op_s=1e14 * factor)
    for lengths in ((context, 100), (100, context)):
        bound = float(batched_bound(EIGHT, slow, lengths))
        assert float(batched_bound(EIGHT, fast, lengths)) == pytest.approx(factor * bound)
    one = float(one_user_bound(EIGHT, slow, context))
    assert float(one_user_bound(EIGHT, fast, context)) == pytest.approx(factor * one)


def test_samples_at_once_are_the_samples() -> None:
    rates, sizes = np.array([1e12, 3e12, 9e12]), np.array([5e9, 40e9, 90e9])
    many = Machine(1, sizes, rates, 1e15, 8, 8)
    each = [Machine(1, size, rate, 1e15, 8, 8) for size, rate in zip(sizes, rates, strict=True)]
    assert np.allclose(one_user_bound(EIGHT, many), [one_user_bound(EIGHT, m) for m in each])
    bounds = batched_bound(EIGHT, many, LENGTHS)
    assert np.allclose(bounds, [batched_bound(EIGHT, m, LENGTHS) for m in each])
    needed = devices_needed(EIGHT, sizes, 8, 8, 2000)
    assert np.array_equal(needed, [2, 1, 1])


def test_the_published_precisions_have_bits() -> None:
    figures = roofline_figures().figures
    used = {served_precision(get_rival(name), claim.precision) for name, claim in ACCEPTED}
    for precision in used - {ROM}:
        assert f"bits.{precision}" in figures and f"kv_bits.{precision}" in figures


def test_models_of_the_same_sizes_count() -> None:
    assert same_sizes("llama-3.3-70b", SEVENTY) and not same_sizes("llama-2-70b", SEVENTY)
    full = get_rival("h100").batched_claim(SEVENTY, LENGTHS)
    assert full is not None and full.model == "llama-3.3-70b"
    assert get_rival("groq").by_model("api_usd", EIGHT) is not None
    assert get_rival("groq").by_model("api_usd", SEVENTY) is None


def test_the_nearest_lengths_are_taken() -> None:
    h100 = get_rival("h100")
    for asked, found in (((1000, 1000), (1000, 1000)), ((900, 900), (1000, 1000))):
        claim = h100.batched_claim(EIGHT, asked)
        assert claim is not None and claim.lengths == found
    long = h100.batched_claim(EIGHT, (30000, 3000))
    assert long is not None and long.lengths == (20000, 2000)


def test_unknown_rival_suggests_the_nearest() -> None:
    with pytest.raises(HardcastError, match="no rival 'h10O'; did you mean h100"):
        get_rival("h10O")
    with pytest.raises(HardcastError, match="there are: b200, cerebras"):
        get_rival("zzz")


GOOD = (Path(load_rival.__code__.co_filename).parent / "rivals/h100.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('vendor = "NVIDIA"', "", "has no vendor"),
        ('vendor = "NVIDIA"', 'vendor = "NVIDIA"\nmaker = "x"', "unknown text maker"),
        ('memory = "hbm"', 'memory = "dram"', "memory is 'dram'; there are: hbm, sram, rom"),
        ('unit = "bytes/s"', 'unit = "GB/s"', "device.memory_bytes_s is in GB/s, expected bytes/s"),
        ("peak_fp8 =", "peak_fp9 =", "unknown figure device.peak_fp9"),
        ("process_nm = {", "process = {", "unknown figure device.process"),
        ('"llama-3.1-8b"]\nbf16', '"llama-3.1-8B"]\nbf16', "did you mean llama-3.1-8b"),
        ("bf16 = { value = 150", "fp7 = { value = 150", "expected bf16, fp8"),
        ("bf16 = { value = 150", "bf16-1x1 = { value = 150", "expected a key as fp8"),
        ("fp8-128x128 =", "fp8 =", "expected a key as fp8-1000x1000"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = tmp_path / "wrong.toml"
    path.write_text(GOOD.replace(old, new, 1), "utf-8")
    with pytest.raises(HardcastError, match=re.escape(message)):
        load_rival(path)


def test_a_rival_without_its_process_or_with_a_curve_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(re.sub(r"process_nm = .*\n", "", GOOD), "utf-8")
    with pytest.raises(HardcastError, match="has no device.process_nm"):
        load_rival(path)
    curve = "power_w = { at = [1, 2], value = [3, 4], over = 'x', unit = 'W', "
    path.write_text(re.sub('power_w = { value = 700, unit = "W", ', curve, GOOD), "utf-8")
    with pytest.raises(HardcastError, match="is a curve"):
        load_rival(path)
