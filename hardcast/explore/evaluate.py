"""One point of a space: the chip that it means, and its figures, or why there is none."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardcast.chip import silicon
from hardcast.chip.blocks import parts
from hardcast.chip.design import Design
from hardcast.chip.estimate import Estimate, estimate
from hardcast.chip.fit import fit
from hardcast.chip.parameters import MOST_STAGES, Chip
from hardcast.chip.subject import Subject
from hardcast.economics.quote import product_of
from hardcast.economics.serving import chip_serving_cost
from hardcast.errors import HardcastError
from hardcast.explore.space import AUTO, STAGES, Space, Value, divided
from hardcast.technology.assumptions import Assumptions

NAME = "explored"
TRIES = 3  # of matching stages to a die that grows by them


@dataclass(frozen=True)
class Task:
    """All that a worker needs to know. subjects: by recipe. assumptions: by node, with economics.

    position: of every user. systems: that share design and masks. utilisation: None as assumed.
    """

    space: Space
    subjects: Mapping[str, Subject]
    assumptions: Mapping[str, Assumptions]
    position: int
    systems: int
    utilisation: float | None = None


@dataclass(frozen=True)
class Result:
    """What became of a point. reason: why there is no such chip, "" where there is.

    parameters: of the chip as it is then, its stages and dies counted. figures: by name, at the
    points of all assumptions; area and power are of all dies.
    """

    point: int
    reason: str
    parameters: Mapping[str, Value]
    figures: Mapping[str, float]


def evaluate(task: Task, point: int) -> Result:
    """The figures of a point of the task's space."""
    wanted = task.space.point(point)
    try:
        made = _estimate(task, wanted)
        figures = _figures(task, made, task.assumptions[str(wanted["node"])])
    except HardcastError as error:
        return Result(point, reason_of(str(error)), {}, {})
    return Result(point, "", _parameters(made.design, wanted), figures)


def evaluate_all(task: Task, points: Iterable[int]) -> list[Result]:
    """Several points, in their order."""
    return [evaluate(task, point) for point in points]


def reason_of(message: str) -> str:
    """A refusal without its numbers and advice, so that all of a kind are counted together."""
    kind = message.split("; ", 1)[0].split(": make it", 1)[0]
    kind = re.sub(rf"^.*\b{NAME}\b[^:]*: ", "", kind)
    return re.sub(r"(?<![\w.-])\d[\d,.]*(?![\w.-])", "N", kind)


def _estimate(task: Task, wanted: Mapping[str, Value]) -> Estimate:
    subject = task.subjects[str(wanted["recipe"])]
    a = task.assumptions[str(wanted["node"])]
    chip = _chip(subject, wanted)
    if task.position >= chip.context:
        raise HardcastError("the context does not reach the position")
    dies = divided(wanted["dies"])
    plain = Design(subject, chip, lora_rank=int(wanted["lora_rank"]))
    made = _on_dies(plain, dies, a)
    matched = [name for name in STAGES if wanted[name] == AUTO]
    for _ in range(TRIES if matched else 1):
        if matched:
            made = _with_stages(made, matched, a)
        found = estimate(made, a, task.position)
        if not found.over_reticle or dies:
            break
        made = _on_dies(made, dies, a)  # its own stages made it too large
    if found.over_reticle:
        raise HardcastError("a die is larger than the reticle")
    return found


def _chip(subject: Subject, wanted: Mapping[str, Value]) -> Chip:
    names = {field.name for field in dataclasses.fields(Chip)}
    values: dict[str, Any] = {
        name: 0 if value == AUTO else value for name, value in wanted.items() if name in names
    }
    return Chip(NAME, bits=subject.bits, **values)


def _on_dies(design: Design, dies: tuple[int, int] | None, a: Assumptions) -> Design:
    if dies is None:
        return fit(design, a)
    return dataclasses.replace(design, stages=dies[0], pieces=dies[1])


def _with_stages(design: Design, names: Sequence[str], a: Assumptions) -> Design:
    """The design with the fewest registers for distance with which wires do not set the clock.

    Where a register alone takes longer than logic and ROM, a hop's wire gets as long as it does.
    """
    bare = dataclasses.replace(design.chip, broadcast_stages=0, gather_stages=0)
    one = design if bare == design.chip else dataclasses.replace(design, chip=bare)
    areas = [silicon.area_mm2(part, a) for part in parts(one, a.texts["node.library"], 0)]
    sides = silicon.sides_mm(silicon.die_mm2(areas, one, a), a)
    # Without registers wires take slope * (distance out) + a register's own time, and of a die
    # without height out is as far as back.
    whole, flat, none = (
        silicon.clock_limits_ps(one, a, width, height)
        for width, height in (sides, (sides[0], 0.0), (0.0, 0.0))
    )
    register = float(none["wires"])
    room = max(float(ps) for name, ps in whole.items() if name != "wires") - register
    room = room if room > 0 else register
    ways = {"broadcast_stages": whole["wires"], "gather_stages": flat["wires"]}
    changes: dict[str, Any] = {
        name: min(max(ceil_hops(float(ways[name]) - register, room) - 1, 0), MOST_STAGES)
        for name in names
    }
    return dataclasses.replace(design, chip=dataclasses.replace(design.chip, **changes))


def ceil_hops(way: float, room: float) -> int:
    """Hops of at most `room` that a way takes; a hair over is not one more."""
    return int(np.ceil(way / room - 1e-9))


def _figures(task: Task, made: Estimate, a: Assumptions) -> dict[str, float]:
    serving = chip_serving_cost(product_of(made), a, task.systems, task.utilisation)
    return {
        "tokens_s_user": float(made.tokens_s_user),
        "tokens_s_die": float(made.tokens_s_die),
        "tokens_s": float(made.tokens_s),
        "area_mm2": float(made.area_mm2),
        "die_mm2": float(made.die_mm2),
        "dies": float(made.dies),
        "clock_ghz": float(made.clock_ghz),
        "power_w": float(made.power_w),
        "watt_per_mm2": float(made.watt_per_mm2),
        "mj_per_token": float(made.mj_per_token),
        "usd_per_million_tokens": float(serving.usd_per_million_tokens),
        "weight_bits": made.design.subject.code_bits,
    }


def _parameters(design: Design, wanted: Mapping[str, Value]) -> dict[str, Value]:
    chip = design.chip.to_json()
    found: dict[str, Value] = {
        name: chip.get(name, value) for name, value in wanted.items() if name != "dies"
    }
    return {**found, "bits": design.chip.bits, "stages": design.stages, "pieces": design.pieces}
