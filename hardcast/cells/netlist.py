"""A mapped netlist: cells of a library and the nets between them, as numbers."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hardcast.cells.liberty import Cell, Liberty
from hardcast.errors import HardcastError

CLOCK = "clk"


@dataclass(frozen=True)
class Instance:
    """A cell in the netlist. nets: pin name -> net; constants are the nets LOW and HIGH."""

    name: str
    cell: Cell
    nets: dict[str, int]


LOW, HIGH = 0, 1


@dataclass(frozen=True)
class Netlist:
    """inputs, outputs: port name -> net. count: nets are 0 .. count - 1, two of them constant."""

    inputs: dict[str, int]
    outputs: dict[str, int]
    instances: list[Instance]
    count: int

    @cached_property
    def sinks(self) -> dict[int, list[tuple[Instance, str]]]:
        """net -> the input pins on it."""
        found: dict[int, list[tuple[Instance, str]]] = defaultdict(list)
        for instance in self.instances:
            for pin, net in instance.nets.items():
                if not instance.cell.pins[pin].output:
                    found[net].append((instance, pin))
        return found

    @cached_property
    def area(self) -> float:
        """um2 of all cells."""
        return sum(instance.cell.area for instance in self.instances)

    @property
    def leakage(self) -> float:
        """nW of all cells."""
        return sum(instance.cell.leakage for instance in self.instances)

    @cached_property
    def flip_flops(self) -> list[Instance]:
        """The cells that hold state, clock gates aside."""
        return [i for i in self.instances if i.cell.sequential and not i.cell.gate]

    @cached_property
    def gates(self) -> list[Instance]:
        """Clock gates."""
        return [i for i in self.instances if i.cell.gate]

    @cached_property
    def clocks(self) -> set[int]:
        """The clock, and what clock gates make of it."""
        found = {self.inputs[CLOCK]} if CLOCK in self.inputs else set()
        for gate in self.gates:
            found |= {gate.nets[p.name] for p in gate.cell.outputs if p.name in gate.nets}
        return found

    @cached_property
    def ordered(self) -> list[tuple[int, Instance]]:
        """(level, combinational cell), every one after those it depends on; level 1 first."""
        level: dict[int, int] = {}
        waiting: dict[int, int] = {}
        ready = []
        logic = [i for i in self.instances if not i.cell.sequential]
        driven = {net for i in logic for pin, net in i.nets.items() if i.cell.pins[pin].output}
        for instance in logic:
            needs = {n for p, n in instance.nets.items() if not instance.cell.pins[p].output}
            waiting[id(instance)] = len(needs & driven)
            if not waiting[id(instance)]:
                ready.append(instance)
        order = []
        while ready:
            instance = ready.pop()
            pins = instance.cell.pins
            own = 1 + max(
                (level.get(n, 0) for p, n in instance.nets.items() if not pins[p].output), default=0
            )
            order.append((own, instance))
            for pin, net in instance.nets.items():
                if pins[pin].output:
                    level[net] = own
                    for sink in {id(s): s for s, _ in self.sinks.get(net, ())}.values():
                        if id(sink) in waiting:
                            waiting[id(sink)] -= 1
                            if not waiting[id(sink)]:
                                ready.append(sink)
        if len(order) != len(logic):
            raise HardcastError("the netlist has a combinational loop")
        return sorted(order, key=lambda pair: pair[0])


def read_netlist(path: Path, liberty: Liberty) -> Netlist:
    """Reads what yosys' write_json wrote of a flat netlist."""
    modules = json.loads(path.read_text())["modules"]
    module = next(m for m in modules.values() if "blackbox" not in m.get("attributes", {}))
    index: dict[int | str, int] = {"0": LOW, "1": HIGH, "x": LOW, "z": LOW}

    def net(bit: int | str) -> int:
        if bit not in index:
            index[bit] = len(index) - 2
        return index[bit]

    ports: dict[str, dict[str, int]] = {"input": {}, "output": {}}
    for name, port in module["ports"].items():
        bits = port["bits"]
        for i, bit in enumerate(bits):
            ports[port["direction"]][name if len(bits) == 1 else f"{name}[{i}]"] = net(bit)
    instances = []
    for name, cell in module["cells"].items():
        if cell["type"] not in liberty:
            raise HardcastError(f"{cell['type']}: a cell that the library does not have ({name})")
        nets = {pin: net(bits[0]) for pin, bits in cell["connections"].items() if bits}
        kind = liberty[cell["type"]]
        if kind.sequential and re.fullmatch(r"c\d+", name):  # nothing of it kept a name
            where = re.search(r"(\w+\.sv:\d+)", cell.get("attributes", {}).get("src", ""))
            name = where[1] if where else name
        instances.append(Instance(name, kind, nets))
    return Netlist(ports["input"], ports["output"], instances, len(index) - 2)
