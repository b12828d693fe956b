"""The stand-in for the chip (hc_top.sv beside this file): its map, its ROM and its answers."""

from __future__ import annotations

from pathlib import Path

from hardcast.simulate.verilate import Options, verilate

SOURCE = Path(__file__).parent / "hc_top.sv"
ROM = [(i * 0x9E3779B9 + 7) & 0xFFFFFFFF for i in range(16)]
CYCLES, SCRATCH, CYCLE, TRAP, WORDS = 0, 1, 2, 3, 256
PLAIN = Options(optimisation=1)
FULL = Options(optimisation=1, trace=True, savable=True)


def build(options: Options) -> Path:
    return verilate([SOURCE], "hc_top", options=options)


def write_rom(folder: Path) -> Path:
    (folder / "words.hex").write_text("".join(f"{word:08x}\n" for word in ROM))
    return folder


def expected_sum(cycles: int, start: int, data: int = 0) -> int:
    """What a run answers; its last word is read after the sum was."""
    total = start + data
    for left in range(cycles, 1, -1):
        total = (total * 3 + ROM[left % 16]) & 0xFFFFFFFF
    return total
