"""Liberty files: the cells of a library, as far as timing, energy and logic of a netlist need them.

Only the cells that are asked for are parsed. Units inside: ps, fF, fJ, nW, um2, V.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hardcast.errors import HardcastError

_TOKEN = re.compile(
    r'(?P<attribute>\w+)\s*:\s*(?P<value>"[^"]*"|[^;{}\n]*);?'
    r"|(?P<name>\w+)\s*\((?P<arguments>[^)]*)\)\s*(?P<open>\{)?"
    r"|(?P<close>\})"
)
_TIMES = {"ps": 1.0, "ns": 1e3}
_CAPACITANCES = {"ff": 1.0, "pf": 1e3}
_POWERS = {"pw": 1e-3, "nw": 1.0, "uw": 1e3}  # to nW


@dataclass
class Group:
    """A braced group: its attributes and the groups inside, both in order."""

    kind: str
    arguments: str
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def of(self, *kinds: str) -> Iterator[Group]:
        """The groups directly inside of these kinds."""
        return (group for group in self.groups if group.kind in kinds)


@dataclass(frozen=True)
class Units:
    """What one unit of the file is: ps, fF, fJ (of energy), nW (of leakage)."""

    time: float
    capacitance: float
    energy: float
    leakage: float


class Table:
    """A lookup table of one or two variables, linear between its points and beyond its ends."""

    def __init__(self, first: list[float], second: list[float], values: list[float]) -> None:
        self.first, self.second, self.values = first or [0.0], second or [0.0], values

    def __call__(self, x: float, y: float = 0.0) -> float:
        i, u = _place(self.first, x)
        j, v = _place(self.second, y)
        width, values = len(self.second), self.values
        at = i * width + j
        down = width if len(self.first) > 1 else 0
        right = 1 if width > 1 else 0
        top = values[at] + (values[at + right] - values[at]) * v
        at += down
        return top + (values[at] + (values[at + right] - values[at]) * v - top) * u


def _place(points: Sequence[float], x: float) -> tuple[int, float]:
    """The interval that x lies in (or next to), and where in it: 0 left end, 1 right end."""
    if len(points) < 2:
        return 0, 0.0
    i = min(max(bisect_right(points, x) - 1, 0), len(points) - 2)
    return i, (x - points[i]) / (points[i + 1] - points[i])


@dataclass(frozen=True)
class Arc:
    """Timing from one input pin. kind: Liberty's timing_type. tables: by Liberty's names."""

    related: str
    kind: str
    sense: str
    tables: dict[str, Table]


@dataclass(frozen=True)
class Power:
    """Energy in fJ of a transition of the pin that has this. related: the input that causes it."""

    related: str
    when: str
    rise: Table
    fall: Table


@dataclass(frozen=True)
class Pin:
    """capacitance in fF. function: Liberty's expression of an output."""

    name: str
    output: bool
    capacitance: float
    function: str
    clock: bool
    enable: bool  # of a clock gate
    arcs: tuple[Arc, ...]
    powers: tuple[Power, ...]


@dataclass(frozen=True)
class Cell:
    """area in um2, leakage in nW. sequential: a flip-flop or latch; gate: a clock gate.

    state: name and next value of what a flip-flop holds, "" for other cells.
    """

    name: str
    area: float
    leakage: float
    pins: dict[str, Pin]
    sequential: bool
    gate: bool
    state: tuple[str, str] = ("", "")

    @cached_property
    def outputs(self) -> tuple[Pin, ...]:
        return tuple(pin for pin in self.pins.values() if pin.output)


class Liberty:
    """The cells of one or more Liberty files. Raises HardcastError for a file that isn't one."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._places: dict[str, tuple[str, Units, dict[str, Group]]] = {}
        self._cells: dict[str, Cell] = {}
        self.units = Units(1.0, 1.0, 1.0, 1.0)  # of the first file
        for path in files:
            text = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8", "replace"), flags=re.DOTALL)
            starts = list(re.finditer(r'^\s*cell\s*\(\s*"?(\w+)"?\s*\)', text, re.MULTILINE))
            if not starts:
                raise HardcastError(f"{path}: no cells; expected a Liberty file")
            header = _parse(text[: starts[0].start()])
            units = _units(header, path)
            if not self._places:
                self.units = units
            templates = {
                group.arguments: group for group in header.groups if group.kind.endswith("template")
            }
            ends = [*(start.start() for start in starts[1:]), len(text)]
            for start, end in zip(starts, ends, strict=True):
                self._places[start[1]] = text[start.start() : end], units, templates

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Cell:
        """The cell called `name`, parsed when it is first asked for."""
        if name not in self._cells:
            text, units, templates = self._places[name]
            self._cells[name] = _cell(next(_parse(text).of("cell")), units, templates)
        return self._cells[name]


def _parse(text: str) -> Group:
    """The groups of a piece of Liberty text, below a nameless one; groups still open are closed."""
    top = Group("", "")
    stack = [top]
    for match in _TOKEN.finditer(text):
        if match["attribute"]:
            stack[-1].attributes[match["attribute"]] = match["value"].strip().strip('"')
        elif match["close"]:
            if len(stack) > 1:
                stack.pop()
        elif match["open"]:
            group = Group(match["name"], match["arguments"].strip().strip('"'))
            stack[-1].groups.append(group)
            stack.append(group)
        else:
            stack[-1].attributes[match["name"]] = match["arguments"]
    # A library's own group is never closed in a header: look inside it.
    return top.groups[0] if top.groups and top.groups[0].kind == "library" else top


def _units(header: Group, path: Path) -> Units:
    try:
        time = _unit(header.attributes["time_unit"], _TIMES)
        number, name = header.attributes["capacitive_load_unit"].replace('"', "").split(",")
        capacitance = float(number) * _CAPACITANCES[name.strip().lower()]
        volt = _unit(header.attributes["voltage_unit"], {"v": 1.0})
        leakage = _unit(header.attributes["leakage_power_unit"], _POWERS)
    except (KeyError, ValueError, AttributeError):
        raise HardcastError(f"{path}: its units are missing or not understood") from None
    return Units(time, capacitance, capacitance * volt * volt, leakage)


def _unit(text: str, known: dict[str, float]) -> float:
    match = re.fullmatch(r"\s*([\d.]+)\s*(\w+)\s*", text)
    if match is None:
        raise ValueError(text)
    return float(match[1]) * known[match[2].lower()]


def _numbers(text: str) -> list[float]:
    return [float(word) for word in re.findall(r"[-+.\w]+", text)]


def _table(group: Group, templates: dict[str, Group], units: Sequence[float]) -> Table:
    """units: of the first and second variable and of the values."""
    template = templates.get(group.arguments, Group("", "")).attributes
    indices = []
    for i in (1, 2):
        text = group.attributes.get(f"index_{i}", template.get(f"index_{i}", ""))
        indices.append([x * units[i - 1] for x in _numbers(text)])
    values = [x * units[2] for x in _numbers(group.attributes.get("values", "0"))]
    if len(values) == 1:
        indices = [[], []]
    return Table(indices[0], indices[1], values)


def _cell(group: Group, units: Units, templates: dict[str, Group]) -> Cell:
    pins = {}
    for pin in group.of("pin"):
        made = _pin(pin, units, templates)
        pins[made.name] = made
    kinds = {inner.kind for inner in group.groups}
    held = next(group.of("ff"), None)
    state = ("", "")
    if held is not None:
        state = held.arguments.split(",")[0].strip(' "'), held.attributes.get("next_state", "")
    return Cell(
        name=group.arguments,
        area=float(group.attributes["area"]),
        leakage=_leakage(group) * units.leakage,
        pins=pins,
        sequential=bool(kinds & {"ff", "latch", "statetable"}),
        gate="clock_gating_integrated_cell" in group.attributes,
        state=state,
    )


def _leakage(group: Group) -> float:
    """cell_leakage_power, or the mean of the states; a ground pin's share is the same current."""
    if "cell_leakage_power" in group.attributes:
        return float(group.attributes["cell_leakage_power"])
    states = [
        state.attributes
        for state in group.of("leakage_power")
        if not _is_ground(state.attributes.get("related_pg_pin", ""))
    ]
    whole = [s for s in states if "when" not in s] or states
    return sum(float(s["value"]) for s in whole) / max(len(whole), 1)


def _is_ground(name: str) -> bool:
    return name.upper().startswith(("VSS", "GND"))


def _pin(group: Group, units: Units, templates: dict[str, Group]) -> Pin:
    attributes = group.attributes
    time, load, energy = units.time, units.capacitance, units.energy
    arcs: list[Arc] = []
    conditional: list[Arc] = []
    for timing in group.of("timing"):
        kind = timing.attributes.get("timing_type", "combinational")
        if kind.startswith(("min_", "hold", "removal", "recovery", "clear", "preset")):
            continue
        second = time if kind.startswith("setup") else load
        tables = {t.kind: _table(t, templates, (time, second, time)) for t in timing.groups}
        for related in timing.attributes.get("related_pin", "").split():
            arc = Arc(related, kind, timing.attributes.get("timing_sense", "non_unate"), tables)
            (conditional if "when" in timing.attributes else arcs).append(arc)
    whole = {arc.related for arc in arcs}
    arcs += [arc for arc in conditional if arc.related not in whole]
    powers = []
    for power in group.of("internal_power"):
        if _is_ground(power.attributes.get("related_pg_pin", "")):
            continue  # the same energy, seen from the other rail
        found = {t.kind: _table(t, templates, (time, load, energy)) for t in power.groups}
        nothing = Table([], [], [0.0])
        both = found.get("power", nothing)
        powers.append(
            Power(
                power.attributes.get("related_pin", ""),
                power.attributes.get("when", ""),
                found.get("rise_power", both),
                found.get("fall_power", both),
            )
        )
    return Pin(
        name=group.arguments,
        output=attributes.get("direction") == "output",
        capacitance=float(attributes.get("capacitance", 0)) * load,
        function=attributes.get("function", ""),
        clock=attributes.get("clock") == "true",
        enable=attributes.get("clock_gate_enable_pin") == "true",
        arcs=tuple(arcs),
        powers=tuple(powers),
    )
