"""Modules of the RTL against golden in a second simulator, Icarus Verilog."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from hardcast.golden import steps
from hardcast.numerics import rope, tables
from hardcast.numerics.blocks import quantize_blocks
from hardcast.numerics.points import Points
from hardcast.numerics.tables import GATE_RANGE
from tests.rtl.icarus import (
    LANES,
    Module,
    latency,
    numbers,
    packages,
    packed,
    source,
    unpacked,
)

pytestmark = pytest.mark.skipif(
    shutil.which("iverilog") is None,
    reason="needs Icarus Verilog (Debian, Ubuntu: apt install iverilog)",
)

POINTS = Points()


def test_sums_and_maxima(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for count, radix, cycles in ((1, 4, 0), (5, 4, 2), (16, 4, 2), (17, 4, 3), (9, 2, 4)):
        values = [numbers(rng, 12, count) for _ in range(60)]
        inputs = {"en": 1, "d": 12 * count}
        stimuli = {"en": [1] * 60, "d": [packed(v, 12) for v in values]}
        made = Module(
            "hc_sum", packages(), inputs, {"q": 12}, {"N": count, "W": 12, "RADIX": radix}
        )
        found = made.run(stimuli, tmp_path)["q"][cycles:]
        assert found == [int(v.sum()) & 0xFFF for v in values[: 60 - cycles]]
        made = Module("hc_max", packages(), {"d": 12 * count}, {"q": 12}, {"N": count, "W": 12})
        deep = (count - 1).bit_length()
        found = made.run({"d": stimuli["d"]}, tmp_path)["q"][deep:]
        assert found == [int(v.max()) & 0xFFF for v in values[: 60 - deep]]


@pytest.mark.parametrize(
    ("lanes", "segment", "words", "width", "magnitude", "code", "bits"),
    [
        (4, 4, 16, 38, 37, 16, 8),
        (4, 4, 16, 38, 37, 16, 15),
        (2, 2, 3, 35, 22, 8, 8),
        (8, 4, 1, 35, 22, 8, 8),
        (4, 2, 2, 32, 37, 16, 16),
    ],
)
def test_quantiser(
    lanes: int,
    segment: int,
    words: int,
    width: int,
    magnitude: int,
    code: int,
    bits: int,
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(2)
    sides, count = lanes // segment, 40
    limits = [rng.integers(2, width + 1) for _ in range(count * sides)]
    # [group of blocks, block beside block, word, lane]
    x = np.stack([numbers(rng, int(limit), segment * words) for limit in limits])
    x = x.reshape(count, sides, words, segment)
    blocks = quantize_blocks(x.reshape(1, -1), bits, segment * words, magnitude)
    codes = blocks.codes.reshape(x.shape)
    exponents = blocks.exponents.reshape(count, sides)

    stimuli: dict[str, list[int]] = {"rst_n": [0, 0], "bits": [bits] * 2}
    stimuli |= {"in_valid": [0, 0], "in_first": [0, 0], "in_last": [0, 0], "in_word": [0, 0]}
    for group in range(count):
        for word in range(words):
            lane_values = x[group, :, word, :].reshape(-1)
            _cycle(stimuli, 1, word == 0, word == words - 1, packed(lane_values, width), bits)
        for _ in range(int(rng.integers(0, 3))):
            _cycle(stimuli, 0, False, False, 0, bits)
    for _ in range(words + 6):
        _cycle(stimuli, 0, False, False, 0, bits)
    made = Module(
        "hc_quant",
        packages(),
        {
            "rst_n": 1, "bits": 5, "in_valid": 1, "in_first": 1, "in_last": 1, "in_meta": 1,
            "in_word": lanes * width,
        },
        {"out_valid": 1, "out_first": 1, "out_codes": lanes * code, "out_exp": sides * 5},
        {
            "TR": lanes, "SEG": segment, "WPB": words, "W": width, "MAG": magnitude,
            "CODE_W": code,
        },
    )  # fmt: skip
    seen = made.run(stimuli, tmp_path)
    valid = [n for n, v in enumerate(seen["out_valid"]) if v == 1]
    assert valid == [n + words + 4 for n, v in enumerate(stimuli["in_valid"]) if v]
    for index, n in enumerate(valid):
        group, word = divmod(index, words)
        assert seen["out_first"][n] == (word == 0)
        assert unpacked(seen["out_codes"][n], lanes, code) == codes[group, :, word].ravel().tolist()
        assert unpacked(seen["out_exp"][n], sides, 5, False) == exponents[group].tolist()


def _cycle(
    stimuli: dict[str, list[int]], valid: int, first: bool, last: bool, word: int, bits: int
) -> None:
    for name, value in (
        ("rst_n", 1), ("bits", bits), ("in_valid", valid), ("in_first", int(first)),
        ("in_last", int(last)), ("in_word", word),
    ):  # fmt: skip
        stimuli[name].append(value)


def test_rope(tmp_path: Path) -> None:
    """Both levels of the angle, then the rotation, as steps.rope of heads of LANES pairs."""
    rng = np.random.default_rng(3)
    count = 60
    coarse, fine = rope.rope_tables(rope.inverse_frequencies(2 * LANES, 10000.0, None), 4096)
    positions = rng.integers(0, 4096, count)
    x = numbers(rng, 32, count * 2 * LANES).reshape(count, 2 * LANES)
    wanted = steps.rope(x, positions, coarse, fine, POINTS)
    after = latency("hc_rope")

    def through(words: list[np.ndarray], angles: list[int], shift: int) -> list[np.ndarray]:
        """Pairs of words, one after the other."""
        cycles = len(words)
        made = Module(
            "hc_rope",
            packages(),
            {
                "rst_n": 1, "in_valid": 1, "in_second": 1, "shift": 5, "in_meta": 1,
                "in_word": LANES * 32, "in_angle": LANES * 32,
            },
            {"out_valid": 1, "out_second": 1, "out_word": LANES * 35},
            {"TR": LANES},
        )  # fmt: skip
        idle = [0] * after
        seen = made.run(
            {
                "rst_n": [1] * (cycles + after),
                "in_valid": [1] * cycles + idle,
                "in_second": [n % 2 for n in range(cycles)] + idle,
                "shift": [shift] * (cycles + after),
                "in_word": [packed(word, 32) for word in words] + idle,
                "in_angle": angles + idle,
            },
            tmp_path,
        )
        assert seen["out_valid"][after:] == [1] * cycles
        assert seen["out_second"][after:] == [n % 2 for n in range(cycles)]
        return [np.array(unpacked(word, LANES, 35)) for word in seen["out_word"][after:]]

    def angle_word(cosines: np.ndarray, sines: np.ndarray) -> int:
        return packed((cosines & 0xFFFF) | (sines & 0xFFFF) << 16, 32)

    words, angles = [], []
    for position in positions:
        high, low = coarse[position // 128].astype(int), fine[position % 128].astype(int)
        words += [high[:, 0], high[:, 1]]
        angles += [angle_word(low[:, 0], low[:, 1])] * 2
    turned = through(words, angles, 14)
    words = [half for row in x for half in (row[:LANES], row[LANES:])]
    angles = [angle_word(turned[2 * n], turned[2 * n + 1]) for n in range(count) for _ in range(2)]
    found = through(words, angles, 14 + POINTS.qk - POINTS.rope)
    assert np.array_equal(np.concatenate(found).reshape(wanted.shape), wanted)


@pytest.mark.parametrize("gate", GATE_RANGE)
def test_gate(gate: str, tmp_path: Path) -> None:
    built = tables.needed([gate])[gate]().astype(np.int64)
    end = 1 << POINTS.gate + GATE_RANGE[gate]
    rng = np.random.default_rng(4)
    g, u = (numbers(rng, 32, 400 * LANES).reshape(400, LANES) for _ in range(2))
    g[:200] = rng.integers(-end - end // 8, end + end // 8, (200, LANES))
    g[200] = [end, -end, end - 1, end + 1]
    wanted = steps.gate_mul(g, u, built, GATE_RANGE[gate], POINTS)
    wanted = np.clip(wanted, -(1 << 37), (1 << 37) - 1)
    after = latency("hc_gate")
    made = Module(
        "hc_gate",
        packages(gate=gate),
        {"rst_n": 1, "in_valid": 1, "g": LANES * 32, "u": LANES * 32},
        {"f": LANES * 38},
        variants=frozenset({gate}),
    )
    stimuli = {"in_valid": [1] * 400, "g": [packed(v, 32) for v in g]}
    stimuli["u"] = [packed(v, 32) for v in u]
    seen = made.run({n: v + [v[-1]] * after for n, v in stimuli.items()}, tmp_path)["f"][after:]
    assert [unpacked(word, LANES, 38) for word in seen] == wanted.tolist()


def test_a_planted_bug_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = "index_1 == 7'd64"
    assert right in source("hc_gate")
    wrong = packages() | {"hc_gate.sv": source("hc_gate").replace(right, "index_1 == 7'd63", 1)}
    monkeypatch.setattr(sys.modules[__name__], "packages", lambda **_: wrong)
    with pytest.raises(AssertionError):
        test_gate("sigmoid", tmp_path)


def test_reciprocal_root(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = [1, 2, 3, (1 << 80) - 1, 1 << 79, (1 << 72) + 1]
    values += [1 << n for n in range(80)]
    values += [int.from_bytes(rng.bytes(10), "big") >> int(rng.integers(0, 80)) or 1
               for _ in range(600)]  # fmt: skip
    r, halfshift = steps.rsqrt(values)
    made = Module(
        "hc_rsqrt",
        packages(),
        {"rst_n": 1, "in_valid": 1, "v": 80},
        {"out_valid": 1, "r": 17, "halfshift": 7},
    )
    after = latency("hc_rsqrt")
    idle = [1] * after
    stimuli = {"in_valid": [1] * (len(values) + after), "v": values + idle}
    seen = {name: found[after:] for name, found in made.run(stimuli, tmp_path).items()}
    assert seen["out_valid"] == [1] * len(values)
    assert seen["r"] == r.tolist()
    assert [(v + 64) % 128 - 64 for v in seen["halfshift"]] == halfshift.tolist()


def test_squares(tmp_path: Path) -> None:
    """Vectors of several blocks of 64, LANES values a word; a block's exponent with each word."""
    rng = np.random.default_rng(6)
    segment, count, epsilon = LANES, 6, (1 << 40) + 12345
    stimuli: dict[str, list[int]] = {
        name: [0, 0] for name in ("in_valid", "in_first", "in_last", "codes", "exps")
    }
    stimuli["rst_n"] = [0, 0]
    wanted = []
    for _ in range(count):
        blocks_of_it = int(rng.integers(1, 4))
        x = numbers(rng, int(rng.integers(2, 33)), 64 * blocks_of_it)[None]
        wanted.append(steps.sum_of_squares(x)[0] + epsilon)
        blocks = quantize_blocks(x, 16)
        words = blocks.codes.reshape(-1, segment)
        for n, word in enumerate(words):
            stimuli["in_valid"].append(1)
            stimuli["in_first"].append(int(n == 0))
            stimuli["in_last"].append(int(n == len(words) - 1))
            stimuli["codes"].append(packed(word, 16))
            stimuli["exps"].append(int(blocks.exponents[0, n * segment // 64]))
            stimuli["rst_n"].append(1)
    for name in stimuli:
        stimuli[name] += [int(name == "rst_n")] * 8
    stimuli["epsilon"] = [epsilon] * len(stimuli["rst_n"])
    made = Module(
        "hc_squares",
        packages(),
        {
            "rst_n": 1, "in_valid": 1, "in_first": 1, "in_last": 1, "epsilon": 64,
            "codes": LANES * 16, "exps": 5,
        },
        {"out_valid": 1, "v": 80},
        {"LANES": LANES, "SEG": segment},
    )  # fmt: skip
    seen = made.run(stimuli, tmp_path)
    found = [v for v, valid in zip(seen["v"], seen["out_valid"], strict=True) if valid == 1]
    assert found == wanted
