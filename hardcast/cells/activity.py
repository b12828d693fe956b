"""How often every net of a netlist toggles: the netlist evaluated on data, 64 streams at once.

Each net is one 64-bit word, a bit a stream: bitwise operations evaluate 64 independent copies of
the block. Time passes in steps, and every cell takes as many as its delay has: its output follows
once what its inputs say has stood that long (shorter pulses are swallowed). So what an adder's
inputs make of each other before they settle is counted too; `settled` counts leave it out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType

import numpy as np

from hardcast.cells.netlist import CLOCK, HIGH, Instance, Netlist
from hardcast.errors import HardcastError

STREAMS = 64
LONGEST = 8  # steps that a cell's delay is told apart
ONES = (1 << 64) - 1
Words = np.ndarray  # uint64[n]
Function = Callable[[Mapping[str, Words]], Words]


@dataclass(frozen=True)
class Activity:
    """Toggles of each net in `cycles` cycles of one stream (all streams' together, divided).

    toggles: float64[nets], glitches included; settled: without them. clocked: for each flip-flop
    and clock gate in the netlist's order, the share of cycles in which its output clock runs.
    """

    cycles: int
    toggles: np.ndarray
    settled: np.ndarray
    clocked: dict[int, float]


@cache
def function_of(expression: str) -> tuple[Function, tuple[str, ...]]:
    """(evaluates a Liberty expression on words by pin name, the pins it reads)."""
    text = re.sub(r"(\w+)'", r"(!\1)", expression)
    names = tuple(dict.fromkeys(re.findall(r"[A-Za-z_]\w*", text)))
    python = text.replace("!", "~").replace("*", "&").replace("+", "|")
    try:
        if not re.fullmatch(r"[\w\s()~&|^]*", python):
            raise SyntaxError
        code: CodeType = compile(python.strip(), "<liberty>", "eval")
    except SyntaxError:
        raise HardcastError(f"Liberty function {expression!r:.80}: not understood") from None

    def evaluate(pins: Mapping[str, Words]) -> Words:
        value = eval(code, {"__builtins__": {}}, pins)
        return value if isinstance(value, np.ndarray) else np.array(value * ONES, np.uint64)

    return evaluate, names


class _Group:
    """All outputs of one kind: what reads them, what computes them, where they go."""

    def __init__(self, expression: str, pin: str, instances: list[Instance]) -> None:
        self.evaluate, names = function_of(expression)
        self.inputs = {n: np.array([i.nets[n] for i in instances]) for n in names if n[0] != "_"}
        self.output = np.array([instance.nets[pin] for instance in instances])

    def value(self, nets: Words) -> Words:
        pins = {name: nets[index] for name, index in self.inputs.items()}
        found = self.evaluate(pins)
        return np.broadcast_to(found, self.output.shape)


class Simulation:
    """A netlist that runs. Ports are set by name; a cycle ends at the clock's rising edge.

    delay: ps of the cell that drives a net, where it is not one step of `step_ps`.
    """

    def __init__(
        self, netlist: Netlist, delay: Mapping[int, float] | None = None, step_ps: float = 1.0
    ) -> None:
        self.netlist = netlist
        self.nets = np.zeros(netlist.count, np.uint64)
        self.nets[HIGH] = ~np.uint64(0)
        self.groups = list(self._groups(instance for _, instance in netlist.ordered))
        nothing = np.zeros(0, np.int64)
        self.outputs = np.concatenate([nothing, *(group.output for group in self.groups)])
        steps = [round((delay or {}).get(int(net), 0) / step_ps) for net in self.outputs]
        self.steps = np.clip(steps, 1, LONGEST)
        self.longest = int(self.steps.max(initial=1))
        depth = max((level for level, _ in netlist.ordered), default=0)
        self.limit = (depth + 2) * self.longest
        self._flip_flops()

    @staticmethod
    def _groups(instances: Iterable[Instance]) -> Iterable[_Group]:
        kinds: dict[tuple[str, str], list[Instance]] = defaultdict(list)
        for instance in instances:
            for pin in instance.cell.outputs:
                if pin.name in instance.nets:
                    kinds[pin.function, pin.name].append(instance)
        return (_Group(function, pin, found) for (function, pin), found in kinds.items())

    def _flip_flops(self) -> None:
        """Flip-flops by next state; the enable of each: that of the gate which drives its clock."""
        enables = {}
        self.gate_enables: dict[int, int] = {}
        for gate in self.netlist.gates:
            enable = next(p.name for p in gate.cell.pins.values() if p.enable)
            for pin in gate.cell.outputs:
                enables[gate.nets[pin.name]] = gate.nets[enable]
            self.gate_enables[id(gate)] = gate.nets[enable]
        self.registers: list[tuple[_Group, np.ndarray]] = []
        self.enable_of: dict[int, int] = {}
        kinds: dict[tuple[str, str, bool], list[Instance]] = defaultdict(list)
        for instance in self.netlist.flip_flops:
            clock = next(p.name for p in instance.cell.pins.values() if p.clock)
            self.enable_of[id(instance)] = enables.get(instance.nets[clock], HIGH)
            state, following = instance.cell.state
            for pin in instance.cell.outputs:
                if pin.name in instance.nets:
                    inverted = pin.function.strip("() ") != state
                    kinds[following, pin.name, inverted].append(instance)
        for (following, name, inverted), found in kinds.items():
            enable_nets = np.array([self.enable_of[id(instance)] for instance in found])
            expression = f"!({following})" if inverted else following
            self.registers.append((_Group(expression, name, found), enable_nets))

    def settle(self) -> np.ndarray:
        """Lets time pass until nothing changes; uint64 toggles of each net on the way."""
        toggles = np.zeros(self.netlist.count, np.uint64)
        nets, outputs = self.nets, self.outputs
        said = nets[outputs]  # what every cell's inputs said a step ago
        changes = [np.zeros_like(said) for _ in range(self.longest - 1)]  # and when that changed
        quiet = 0
        for _ in range(self.limit):
            says = np.concatenate([said[:0], *(group.value(nets) for group in self.groups)])
            changes = [says ^ said, *changes][: self.longest - 1]
            said = says
            young = np.zeros_like(said)
            for age, changed in enumerate(changes):
                np.bitwise_or(young, changed, out=young, where=self.steps > age + 1)
            flips = (nets[outputs] ^ says) & ~young
            if flips.any():
                quiet = 0
                toggles[outputs] += ones(flips)
                nets[outputs] ^= flips
            else:
                quiet += 1
                if quiet > self.longest:
                    return toggles
        raise HardcastError("the netlist does not settle")

    def cycle(self, inputs: Mapping[int, int | np.uint64]) -> np.ndarray:
        """A rising edge, new inputs (net -> word) right after it; toggles as of settle()."""
        nets = self.nets
        following = [
            (group.output, nets[group.output], group.value(nets), nets[enable])
            for group, enable in self.registers
        ]
        before = nets.copy()
        for output, held, value, enable in following:
            nets[output] = (value & enable) | (held & ~enable)
        for net, word in inputs.items():
            nets[net] = word
        return ones(nets ^ before) + self.settle()


def measure(
    netlist: Netlist,
    delay: Mapping[int, float],
    stimulus: Callable[[int], Mapping[int, np.uint64]],
    cycles: int,
    warm: int,
) -> Activity:
    """Runs `warm` cycles that do not count and `cycles` that do.

    delay: ps of the cell that drives a net; a step of time is a third of their mean.
    stimulus: of cycle number 0, 1, ... the words of the input ports' nets.
    """
    mean = sum(delay.values()) / max(len(delay), 1)
    simulation = Simulation(netlist, delay, mean / 3 or 1.0)
    toggles = np.zeros(netlist.count)
    settled = np.zeros(netlist.count)
    running = np.zeros(netlist.count)
    for number in range(warm + cycles):
        before = simulation.nets.copy()
        counted = simulation.cycle(stimulus(number))
        if number >= warm:
            toggles += counted
            settled += ones(before ^ simulation.nets)
            running += ones(simulation.nets)
    clocked = {
        cell: running[net] / (cycles * STREAMS)
        for table in (simulation.enable_of, simulation.gate_enables)
        for cell, net in table.items()
    }
    return Activity(cycles, toggles / STREAMS, settled / STREAMS, clocked)


def ones(words: Words) -> Words:
    """How many bits of each word are set: uint64[n]."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words).astype(np.uint64)
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8))
    return bits.reshape(-1, 64).sum(1).astype(np.uint64)


def pack(bits: np.ndarray) -> np.ndarray:
    """bool[64 streams, n] -> uint64[n]."""
    packed = np.packbits(bits.astype(np.uint8), axis=0, bitorder="little")
    return np.ascontiguousarray(packed.T).view("<u8").reshape(-1).astype(np.uint64)


def ports(netlist: Netlist) -> dict[str, list[int]]:
    """Input ports as vectors: name -> nets, bit 0 first; the clock is none of them."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for name, net in netlist.inputs.items():
        if name == CLOCK:
            continue
        stem, _, bit = name.rpartition(".")
        if stem and bit.isdigit():
            found[stem][int(bit)] = net
        else:
            found[name][0] = net
    return {name: [bits[i] for i in sorted(bits)] for name, bits in found.items()}
