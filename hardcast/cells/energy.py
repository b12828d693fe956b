"""Switching energy of a netlist: toggles times what Liberty and the capacitances say of one.

A toggle of a net costs half its capacitance times V^2 outside the cell that drives it, and inside
that cell the mean of Liberty's rise and fall energy over its inputs and states. Inputs that toggle
without moving the output cost their own (passive) energy. A flip-flop's clock pin costs energy in
every cycle that its clock runs. Clock buffers are not in a netlist and not in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardcast.cells.activity import Activity
from hardcast.cells.liberty import Pin, Power
from hardcast.cells.libraries import Library
from hardcast.cells.netlist import CLOCK, HIGH, LOW, Instance, Netlist
from hardcast.cells.timing import Timing


@dataclass(frozen=True)
class Energy:
    """fJ a cycle. logic: of combinational cells and the nets they and the ports drive.
    flip_flops: of their outputs and data inputs. clock: of clock pins and clock gates.
    settled: of logic and flip-flops if nothing toggled more than once a cycle."""

    logic: float
    flip_flops: float
    clock: float
    settled: float

    @property
    def total(self) -> float:
        return self.logic + self.flip_flops + self.clock


def energy(netlist: Netlist, library: Library, timing: Timing, activity: Activity) -> Energy:
    """The energy a cycle of one copy of the block."""
    counter = _Counter(netlist, library, timing)
    logic, flip_flops = counter.data(activity.toggles / activity.cycles)
    settled = sum(counter.data(activity.settled / activity.cycles))
    clock = counter.clock(activity.clocked)
    return Energy(logic, flip_flops, clock, settled + clock)


class _Counter:
    def __init__(self, netlist: Netlist, library: Library, timing: Timing) -> None:
        self.netlist, self.library, self.timing = netlist, library, timing
        self.half = 0.5 * library.voltage**2  # fJ a fF
        self.clocks = {*netlist.clocks, LOW, HIGH}

    def slew(self, net: int) -> float:
        return self.timing.slew.get(net, self.library.clock_slew)

    def data(self, rate: np.ndarray) -> tuple[float, float]:
        """(logic, flip-flops) in fJ a cycle. rate: toggles a cycle of each net."""
        logic = sum(
            self.half * self.timing.load[net] * float(rate[net])
            for name, net in self.netlist.inputs.items()
            if name != CLOCK
        )
        flip_flops = 0.0
        for instance in self.netlist.instances:
            if instance.cell.gate:
                continue
            spent = self._outputs(instance, rate) + self._passive(instance, rate)
            if instance.cell.sequential:
                flip_flops += spent
            else:
                logic += spent
        return logic, flip_flops

    def _outputs(self, instance: Instance, rate: np.ndarray) -> float:
        spent = 0.0
        for pin in instance.cell.outputs:
            net = instance.nets.get(pin.name)
            if net is None or not rate[net]:
                continue
            load = self.timing.load[net]
            inside = []
            for power in pin.powers:
                cause = instance.nets.get(power.related, HIGH)
                if cause not in (LOW, HIGH):
                    slew = self.library.clock_slew if cause in self.clocks else self.slew(cause)
                    inside.append((power.rise(slew, load) + power.fall(slew, load)) / 2)
            spent += float(rate[net]) * (self.half * load + mean(inside))
        return spent

    def _passive(self, instance: Instance, rate: np.ndarray) -> float:
        """Of inputs that toggle in vain: all of a flip-flop's, a share of a gate's."""
        cell, nets = instance.cell, instance.nets
        inputs = [
            (pin, nets[pin.name])
            for pin in cell.pins.values()
            if not pin.output and not pin.clock and nets.get(pin.name, LOW) not in self.clocks
        ]
        arriving = sum(float(rate[net]) for _, net in inputs)
        if not arriving:
            return 0.0
        leaving = sum(float(rate[nets[p.name]]) for p in cell.outputs if p.name in nets)
        vain = 1.0 if cell.sequential else max(0.0, 1 - leaving / arriving)
        return vain * sum(
            float(rate[net]) * _mean_passive(pin, self.slew(net)) for pin, net in inputs
        )

    def clock(self, clocked: dict[int, float]) -> float:
        """fJ a cycle of clock pins: both edges, their capacitance and what is inside."""
        slew = self.library.clock_slew
        spent = 0.0
        for instance in (*self.netlist.flip_flops, *self.netlist.gates):
            share = clocked[id(instance)]
            for pin in instance.cell.pins.values():
                net = instance.nets.get(pin.name)
                if net is None:
                    continue
                if pin.clock:
                    runs = 1.0 if instance.cell.gate else share
                    both = _edge(pin.powers, slew, 0) + _edge(pin.powers, slew, 1)
                    spent += runs * (2 * self.half * pin.capacitance + both)
                elif pin.output and instance.cell.gate:
                    load = self.timing.load[net]
                    both = mean([p.rise(slew, load) + p.fall(slew, load) for p in pin.powers])
                    spent += share * both
        return spent


def _mean_passive(pin: Pin, slew: float) -> float:
    """fJ a toggle of an input, over its states and both edges."""
    return (_edge(pin.powers, slew, 0) + _edge(pin.powers, slew, 1)) / 2


def _edge(powers: Sequence[Power], slew: float, edge: int) -> float:
    """Mean of an edge's energy over states, leaving out those that another pin's entry counts."""
    states = [p for p in powers if p.when] or powers
    found = [(p.fall if edge else p.rise)(slew) for p in states]
    return mean([value for value in found if value != 0.0])


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
