"""Data that blocks are fed when their energy is measured: 64 streams, a cycle at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardcast.cells.activity import STREAMS, pack, ports
from hardcast.cells.netlist import Netlist
from hardcast.chip.parameters import BLOCK
from hardcast.synthesis.blocks import Block, Options

Stimulus = Callable[[int], Mapping[int, np.uint64]]
SPREAD = 2.5  # standard deviations of a weight at the end of its codebook
PEAK = 3.0  # of an activation at the end of int8: the largest of a block of 64
SEED = 20240


@dataclass(frozen=True)
class Unit:
    """What a tile sweeps in R steps: codes [64 streams, R rows, 64], x [64, U, 64], and so on."""

    codes: np.ndarray
    x: np.ndarray
    scales: np.ndarray  # [64, R, G]
    offsets: np.ndarray
    shift: np.ndarray  # [64, U]


class TileStimulus:
    """Units one after another without a gap: Gaussian weights in the first codebook, Gaussian int8.

    The scales of a group are near 128, offsets within 10 bits, block exponents 0 to 7.
    """

    def __init__(self, netlist: Netlist, options: Options, seed: int = SEED) -> None:
        self.ports, self.options = ports(netlist), options
        self.contents = options.contents()
        self.rows = BLOCK // options.columns
        self.groups = BLOCK // self.contents.group
        self._random = np.random.default_rng(seed)
        self.units: list[Unit] = []

    @cached_property
    def book(self) -> np.ndarray:
        """The codebook that the weights are in."""
        return np.array(self.contents.codebooks[0])

    def unit(self, number: int) -> Unit:
        """Unit `number`, drawn when it is first asked for."""
        while len(self.units) <= number:
            self.units.append(self._draw())
        return self.units[number]

    def _draw(self) -> Unit:
        random, book, users = self._random, self.book, self.options.users
        weights = random.normal(0, np.abs(book).max() / SPREAD, (STREAMS, self.rows, BLOCK))
        if self.contents.asymmetric:
            weights += book.mean()
        codes = np.abs(weights[..., None] - book).argmin(-1)
        x = random.normal(0, 127 / PEAK, (STREAMS, users, BLOCK)).round().clip(-127, 127)
        scales = random.normal(128, 32, (STREAMS, self.rows, self.groups)).round().clip(1, 255)
        offsets = random.normal(0, 256, (STREAMS, self.rows, self.groups)).round()
        shift = random.integers(0, 8, (STREAMS, users))
        return Unit(
            codes, x.astype(np.int64), scales.astype(np.int64), offsets.astype(np.int64), shift
        )

    def __call__(self, cycle: int) -> dict[int, np.uint64]:
        number, step = divmod(cycle, self.rows)
        unit, options, contents = self.unit(number), self.options, self.contents
        columns = slice(step * options.columns, (step + 1) * options.columns)
        word = [_bits(unit.codes[:, :, columns].reshape(STREAMS, -1), options.bits)]
        word.append(_bits(unit.scales[:, step], 8))
        if contents.asymmetric:
            word.append(_bits(unit.offsets[:, step], 16))
        sums = unit.x.reshape(STREAMS, options.users, self.groups, -1).sum(-1)
        width = len(self.ports["xsum"]) // (options.users * self.groups)
        ones = np.ones((STREAMS, 1), np.int64)
        half = step == self.rows // 2 - 1
        values = {
            "rst_n": _bits(ones, 1),
            "valid": _bits(ones, 1),
            "first": _bits(ones * (step == 0), 1),
            "half": _bits(ones * half, 1),
            "last": _bits(ones * (step == self.rows - 1), 1),
            "word": np.concatenate(word, 1),
            "x": _bits(unit.x[:, :, columns].reshape(STREAMS, -1), 8),
            "shift": _bits(unit.shift, 6),
            "xsum": _bits(sums.reshape(STREAMS, -1), width),
        }
        found: dict[int, np.uint64] = {}
        for name, bits in values.items():
            nets = self.ports[name]
            found.update(zip(nets, pack(bits[:, : len(nets)]), strict=True))
        return found

    def expected(self, number: int) -> np.ndarray:
        """int64[64, R, U]: what rows 0, 1 ... of unit `number` become, modulo 2^64.

        Row n is on y after n + R + 5 more cycles than the unit's first step was given.
        """
        unit, groups = self.unit(number), self.groups
        weights = self.book[unit.codes].reshape(STREAMS, self.rows, groups, -1)
        x = unit.x.reshape(STREAMS, self.options.users, groups, -1)
        sums = np.einsum("srgk,sugk->srug", weights, x)
        total = (sums * unit.scales[:, :, None]).sum(-1)
        if self.contents.asymmetric:
            total += (x.sum(-1)[:, None] * unit.offsets[:, :, None]).sum(-1)
        return total << unit.shift[:, None]


def random_stimulus(netlist: Netlist, seed: int = SEED) -> Stimulus:
    """Independent random bits at every port of several bits, 1 at every port of one: a bound."""
    random = np.random.default_rng(seed)
    inputs = ports(netlist)

    def stimulus(_: int) -> dict[int, np.uint64]:
        found: dict[int, np.uint64] = {}
        for nets in inputs.values():
            words = random.integers(0, 1 << 64, len(nets), np.uint64)
            found.update(zip(nets, words if len(nets) > 1 else [~np.uint64(0)], strict=True))
        return found

    return stimulus


def stimulus_of(block: Block, options: Options, netlist: Netlist) -> Stimulus:
    """What a block is fed."""
    if block.name == "tile":
        return TileStimulus(netlist, options)
    return random_stimulus(netlist)


def _bits(values: np.ndarray, width: int) -> np.ndarray:
    """bool[64, n * width] of int[64, n], bit 0 first."""
    shifted = values[:, :, None] >> np.arange(width)
    return (shifted & 1).astype(bool).reshape(len(values), -1)
