"""How long a netlist's longest path is: arrival times and transitions through Liberty's tables.

The arithmetic is that of any timing analyser (no wires unless they are asked for, an ideal clock);
`opensta` asks OpenSTA for the same, as a check from outside.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardcast import toolchain
from hardcast.cells.liberty import Arc, Pin
from hardcast.cells.libraries import Library
from hardcast.cells.netlist import CLOCK, Instance, Netlist
from hardcast.errors import HardcastError

RISE, FALL = 0, 1
EDGES = (RISE, FALL)
_DELAY = ("cell_rise", "cell_fall")
_SLEW = ("rise_transition", "fall_transition")
_SETUP = ("rise_constraint", "fall_constraint")
_CAUSES = {
    "positive_unate": ((RISE,), (FALL,)),
    "negative_unate": ((FALL,), (RISE,)),
    "non_unate": (EDGES, EDGES),
}
# What the memories inside put into a block.
MEMORY_PORTS = r"\.(rdata|word)(\.\d+)?"


@dataclass(frozen=True)
class Route:
    """A path, by where it starts and ends. ps: clock period that it needs, all counted."""

    ps: float
    start: str
    end: str
    stages: int


@dataclass(frozen=True)
class Timing:
    """paths: the longest to every end, the longest first. load: fF on every net. slew: ps of its
    slower edge. delay: mean ps of the combinational cell that drives it."""

    paths: list[Route]
    load: dict[int, float]
    slew: dict[int, float]
    delay: dict[int, float]

    @property
    def critical(self) -> Route:
        return self.paths[0]

    def by_register(self) -> list[Route]:
        """The longest path between every two registers, without the bits of their names."""
        found: dict[tuple[str, str], Route] = {}
        for path in self.paths:
            start, end = base(path.start), base(path.end)
            found.setdefault((start, end), Route(path.ps, start, end, path.stages))
        return list(found.values())


def base(name: str) -> str:
    """A register's or port's name without bit numbers and what yosys appended."""
    name = re.sub(r"\$_DFF_P_(_\d+)?$", "", name)
    return re.sub(r"(\.\d+|\[\d+\])+$", "", name)


def late_ports(late: Sequence[str]) -> str:
    """The regular expression of the inputs that memories drive: they answer later than registers.

    late: ports that a memory outside drives.
    """
    outside = "".join(rf"|{re.escape(name)}(\.\d+)?" for name in late)
    return rf"^(.*{MEMORY_PORTS}{outside})$"


def analyse(
    netlist: Netlist, library: Library, late: Sequence[str] = (), wires: bool = False
) -> Timing:
    """Arrival times of everything. wires: each pin on a net adds the library's `wire`."""
    return _Analysis(netlist, library, late, library.wire if wires else 0.0).timing()


class _Analysis:
    def __init__(
        self, netlist: Netlist, library: Library, late: Sequence[str], wire: float
    ) -> None:
        self.netlist, self.library = netlist, library
        self.late = re.compile(late_ports(late))
        self.load = self._loads(wire)
        # net -> for both edges, (arrival, slew); and what it came from: (net, edge) or a name
        self.arrival: dict[int, list[float]] = {}
        self.slew: dict[int, list[float]] = {}
        self.origin: dict[tuple[int, int], tuple[int, int] | str] = {}
        self.delay: dict[int, float] = {}

    def _loads(self, wire: float) -> dict[int, float]:
        load = dict.fromkeys(range(self.netlist.count), 0.0)
        for net, sinks in self.netlist.sinks.items():
            load[net] = sum(i.cell.pins[pin].capacitance + wire for i, pin in sinks)
        for net in self.netlist.outputs.values():
            load[net] += self.library.load + wire
        return load

    def timing(self) -> Timing:
        netlist, library = self.netlist, self.library
        driver = library.liberty[library.driver].outputs[0]
        arc = driver.arcs[0]
        for name, net in netlist.inputs.items():
            if name == CLOCK:
                continue
            outside = library.memory if self.late.match(name) else library.input
            # The port's own delay is that of the driver's load beyond none, as OpenSTA counts it.
            self._drive(net, arc, (outside, outside), (0.0, 0.0), name, without=True)
        for cell in netlist.flip_flops:
            for pin in cell.cell.outputs:
                if pin.name in cell.nets and pin.arcs:
                    clock = (library.clock_slew, library.clock_slew)
                    self._drive(cell.nets[pin.name], pin.arcs[0], (0.0, 0.0), clock, cell.name)
        for _, instance in netlist.ordered:
            for pin in instance.cell.outputs:
                if pin.name in instance.nets:
                    self._through(instance, pin)
        ends = sorted(self._ends(), key=lambda end: -end[0])
        paths = []
        for ps, net, edge, name in ends:
            start, stages = self._start(net, edge)
            paths.append(Route(ps, start, name, stages))
        slower = {net: max(both) for net, both in self.slew.items()}
        return Timing(paths, self.load, slower, self.delay)

    def _drive(
        self,
        net: int,
        arc: Arc,
        arrival: tuple[float, float],
        slew: tuple[float, float],
        name: str,
        without: bool = False,
    ) -> None:
        """Sets a net that a port or flip-flop drives."""
        load = self.load[net]
        times, slews = [], []
        for edge in EDGES:
            delay = arc.tables[_DELAY[edge]]
            time = arrival[edge] + delay(slew[edge], load)
            times.append(time - (delay(slew[edge], 0.0) if without else 0.0))
            slews.append(arc.tables[_SLEW[edge]](slew[edge], load))
            self.origin[net, edge] = name
        self.arrival[net], self.slew[net] = times, slews

    def _through(self, instance: Instance, pin: Pin) -> None:
        net = instance.nets[pin.name]
        load = self.load[net]
        times, slews = [-1e9, -1e9], [0.0, 0.0]
        delays = []
        for arc in pin.arcs:
            source = instance.nets.get(arc.related)
            if source is None or source not in self.arrival:
                continue
            arrival, slew = self.arrival[source], self.slew[source]
            for edge in EDGES:
                delay, transition = arc.tables[_DELAY[edge]], arc.tables[_SLEW[edge]]
                for cause in _CAUSES[arc.sense][edge]:
                    delays.append(delay(slew[cause], load))
                    time = arrival[cause] + delays[-1]
                    if time > times[edge]:
                        times[edge] = time
                        self.origin[net, edge] = source, cause
                    slews[edge] = max(slews[edge], transition(slew[cause], load))
        if times[RISE] > -1e9:
            self.arrival[net], self.slew[net] = times, slews
            self.delay[net] = sum(delays) / len(delays)

    def _ends(self) -> list[tuple[float, int, int, str]]:
        found = []
        for instance in (*self.netlist.flip_flops, *self.netlist.gates):
            for pin in instance.cell.pins.values():
                net = instance.nets.get(pin.name)
                if pin.output or net not in self.arrival:
                    continue
                for arc in pin.arcs:
                    if arc.kind == "setup_rising":
                        found.append(self._end(net, instance.name, self._setup(arc, net)))
        for name, net in self.netlist.outputs.items():
            if net in self.arrival:
                found.append(self._end(net, name, lambda _: self.library.output))
        return found

    def _setup(self, arc: Arc, net: int) -> Callable[[int], float]:
        return lambda edge: arc.tables[_SETUP[edge]](self.library.clock_slew, self.slew[net][edge])

    def _end(
        self, net: int, name: str, needs: Callable[[int], float]
    ) -> tuple[float, int, int, str]:
        times = [self.arrival[net][edge] + needs(edge) for edge in EDGES]
        edge = RISE if times[RISE] >= times[FALL] else FALL
        return times[edge], net, edge, name

    def _start(self, net: int, edge: int) -> tuple[str, int]:
        """Where the longest path to an edge of a net starts, and how many cells it passes."""
        origin, stages = self.origin[net, edge], 0
        while not isinstance(origin, str):
            origin, stages = self.origin[origin], stages + 1
        return origin, stages


def opensta(
    verilog: str, netlist: Netlist, library: Library, clock_ps: int, late: Sequence[str] = ()
) -> tuple[float, str]:
    """(clock period that the longest path needs, ps; version) as OpenSTA finds it, without wires.

    verilog: of the netlist. Raises HardcastError where OpenSTA is missing or fails.
    """
    unit = 1 / library.liberty.units.time
    load = library.load / library.liberty.units.capacitance
    memories = re.compile(late_ports(late))
    inputs: dict[bool, list[str]] = {False: [], True: []}
    for name in netlist.inputs:
        if name != CLOCK:
            inputs[memories.match(name) is not None].append(_plain(name))
    outputs = " ".join(_plain(n) for n, net in netlist.outputs.items() if net not in netlist.clocks)
    lines = [
        "read_verilog block.v",
        "link_design block",
        f"create_clock -name c -period {clock_ps * unit} [get_ports {CLOCK}]",
        f"set_clock_transition {library.clock_slew * unit} [get_clocks c]",
        f"set_output_delay {library.output * unit} -clock c [get_ports {{{outputs}}}]",
        f"set_load {load} [all_outputs]",
    ]
    for names, delay in ((inputs[False], library.input), (inputs[True], library.memory)):
        if names:
            lines += [
                f"set ports [get_ports {{{' '.join(names)}}}]",
                f"set_driving_cell -lib_cell {library.driver} $ports",
                f"set_input_delay {delay * unit} -clock c $ports",
            ]
    if library.wire_load:
        lines.append("set_wire_load_model -name Zero")
    lines += ["report_checks -path_delay max -digits 6", "exit"]
    program = toolchain.find_opensta()
    with tempfile.TemporaryDirectory(prefix="hardcast-sta-") as name:
        folder = Path(name)
        text = re.sub(r"\\(\S+)", lambda match: _plain(match[1]), verilog)
        (folder / "block.v").write_text(text)
        read = [f"read_liberty {name}" for name in library.link(folder)]
        (folder / "run.tcl").write_text("\n".join([*read, *lines]) + "\n")
        log = toolchain.run([program, "-exit", "run.tcl"], folder=folder)
    version = re.search(r"OpenSTA ([\w.]+)", log)
    slack = re.search(r"(-?[\d.]+)\s+slack", log)
    if slack is None or "Error:" in log:
        raise HardcastError(f"OpenSTA: {' '.join(log.split())[-200:]}")
    return clock_ps - float(slack[1]) / unit, f"OpenSTA {version[1]}" if version else "OpenSTA"


def _plain(name: str) -> str:
    """A name without brackets and dots, which OpenSTA takes for buses and paths."""
    return re.sub(r"\W", lambda match: f"_{ord(match[0]):x}_", name)
