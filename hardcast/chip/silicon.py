"""What parts cost on a node: area, energy, leakage, and the clock. Elementwise in the figures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hardcast.chip import logic
from hardcast.chip.blocks import Memory, Part
from hardcast.chip.design import Design
from hardcast.technology.assumptions import Assumptions, Real

DEEPEST = 8192  # words of a macro: deeper memories are several
REFERENCE = "asap7"  # library that chip.adder_* are stated for
FJ, UM2 = 1e-15, 1e-6  # J, mm2


def area_mm2(part: Part, a: Assumptions) -> Real:
    """Silicon of a part, mm2, in the middle of its neighbours: cells at the node's utilisation."""
    area: Real = logic_mm2(part, a)
    if part.memory is not None:
        area = area + memory_mm2(part.memory, a)
    return area


def die_mm2(areas: Iterable[Real], design: Design, a: Assumptions) -> Real:
    """A die: its share of a stage's parts, what lies between them, and the host port.

    areas: of all parts of a stage, mm2.
    """
    stage = sum(areas) * (1 + a["chip.top_overhead"])
    return stage * design.largest_piece + a["node.io_area"]


def logic_mm2(part: Part, a: Assumptions) -> Real:
    """Of a part, what is cells."""
    cells: Real = part.cells.area_um2
    if part.adders:
        cells = cells + part.adders * a["chip.adder_area"] * _adder_scales(a)[0]
    if not part.cells.area_um2 and not part.adders:
        return 0.0
    return cells * a["node.logic_area_factor"] / a["node.cell_utilisation"] * UM2


def memory_mm2(memory: Memory, a: Assumptions) -> Real:
    """Macros of a memory, spare bits included."""
    words = min(max(memory.words, 1), DEEPEST)
    cell = a[f"node.{memory.kind}_bitcell"]
    efficiency = a.at(f"node.{memory.kind}_efficiency", words)
    return memory.bits * (1 + a["chip.rom_spare"]) * cell / efficiency * UM2


def energy_j(part: Part, a: Assumptions) -> Real:
    """Dynamic energy of a run in data and memories, J: without clocks."""
    energy: Real = 0.0
    if part.memory is not None:
        energy = energy + _access_fj(part.memory, a)
    if part.cells.cycle_fj:
        data = (part.cells.cycle_fj - part.cells.clock_fj) * a["chip.logic_activity"]
        energy = energy + part.busy * data * a["node.logic_energy_factor"]
    if part.added:
        one = a["chip.adder_energy"] * _adder_scales(a)[1] * a["chip.logic_activity"]
        energy = energy + part.added * one * a["node.logic_energy_factor"]
    return energy * FJ


def clock_j(part: Part, a: Assumptions, cycles: float) -> Real:
    """Energy of a run in a part's clock pins and its share of the clock tree, J.

    cycles: of the run. Where cells have no work, a part of their clock still runs.
    """
    if not part.cells.clock_fj:
        return 0.0
    clocked = part.busy + np.maximum(cycles - part.busy, 0.0) * a["chip.idle_clock"]
    pins = part.cells.clock_fj * (1 + a["chip.clock_tree"])
    return clocked * pins * a["node.logic_energy_factor"] * FJ


def _access_fj(memory: Memory, a: Assumptions) -> Real:
    words = min(max(memory.words, 1), DEEPEST)
    if memory.kind == "rom":
        rows = words / a["node.rom_column_mux"]
        return memory.read_bits * a.at("node.rom_read", rows)
    return (memory.read_bits + memory.written_bits) * a.at("node.sram_read", words)


def leakage_w(part: Part, a: Assumptions) -> Real:
    """Leakage of a stage's part, W, at working temperature."""
    watts = logic_mm2(part, a) * a["node.logic_leakage"]
    if part.memory is not None:
        watts = watts + memory_mm2(part.memory, a) * a[f"node.{part.memory.kind}_leakage"]
    return watts


def clock_limits_ps(design: Design, a: Assumptions, width: Real, height: Real) -> dict[str, Real]:
    """What the period may not fall below, ps, by what limits it: logic, ROM, SRAM, wires.

    width, height: of a die, mm. A signal leaves the spine in the middle for the farthest tile, and
    comes back to it, in as many hops as there are registers for distance, and one.
    """
    chip, library = design.chip, a.texts["node.library"]
    offsets = design.subject.offsets
    slowest = logic.slowest_path_ps(library, chip.bits, offsets)
    speed = a["node.logic_delay_factor"] * a["node.logic_margin"]
    words = min(design.depth, DEEPEST)
    out = (width + height) / 2 / (chip.broadcast_stages + 1)
    back = width / 2 / (chip.gather_stages + 1)
    hop = np.maximum(out, back)
    return {
        "logic": slowest * speed,
        "ROM": a.at("node.rom_access", words),
        "SRAM": a.at("node.sram_access", min(design.kv_depth, DEEPEST)),
        "wires": hop * a["node.wire_delay"] + a["chip.register_time"] * _delay_scale(a),
    }


def _adder_scales(a: Assumptions) -> tuple[float, float]:
    """Area and energy of the node's library over the reference's, by those of a flip-flop."""
    mine, reference = (logic.flip_flop(name) for name in (a.texts["node.library"], REFERENCE))
    return mine.area_um2 / reference.area_um2, mine.cycle_fj / reference.cycle_fj


def _delay_scale(a: Assumptions) -> Real:
    """The node's delay over the reference library's, by the slowest path of the same chip."""
    library = a.texts["node.library"]
    paths = [logic.slowest_path_ps(name, 3, False) for name in (library, REFERENCE)]
    return paths[0] / paths[1] * a["node.logic_delay_factor"]


def transistors(part: Part, a: Assumptions) -> Real:
    """Of a stage: cells at the node's density, cells of memories as they are."""
    count: Real = logic_mm2(part, a) * a["node.cell_utilisation"] * a["node.logic_density"] * 1e6
    if part.memory is not None:
        if part.memory.kind == "rom":
            count = count + part.memory.bits / a["chip.rom_bits_a_transistor"]
        else:
            count = count + part.memory.bits * a["chip.sram_transistors"]
    return count


def sides_mm(area: Real, a: Assumptions) -> tuple[Real, Real]:
    """Width and height of a die of so much area: square, or as wide as the reticle allows."""
    width = np.minimum(np.sqrt(area), np.minimum(a["node.reticle_width"], a["node.reticle_height"]))
    return width, area / width
