"""The front of a search as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from hardcast.console import Console, table
from hardcast.explore.evaluate import Result, Task
from hardcast.explore.objectives import QUANTITIES, Answer

MOST_ROWS = 25
VARIED = ("node", "recipe", "context", "lora_rank", "sampler_lanes")  # shown if they vary
SHOWN = (
    "tokens_s_user",
    "tokens_s_die",
    "dies",
    "area_mm2",
    "power_w",
    "mj_per_token",
    "usd_per_million_tokens",
)


def show(
    console: Console,
    found: Answer,
    rows: tuple[list[str], list[list[str]]],
    objectives: Sequence[str],
    seconds: float,
) -> None:
    """The front, and what was left out, for people."""
    console.print(
        f"{found.feasible:,} are chips, {found.within:,} within the limits, "
        f"{len(found.front):,} on the front of {', '.join(objectives)}; {seconds:.1f} s"
    )
    if found.front:
        header, lines = rows
        chosen = shortened(found.front, objectives)
        console.print()
        console.print(table(header, [lines[index] for index in chosen]))
        if len(chosen) < len(lines):
            console.print(f"{len(chosen)} of {len(lines)}; -o FILE.csv writes all")
    if found.reasons:
        console.print()
        console.print("left out:")
        counted = [[f"{count:,}", reason] for reason, count in found.reasons.items()]
        console.print(table(["points", "why"], counted))


def front_rows(
    task: Task, found: Answer, objectives: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """A table of the front: what the chip is, its figures, and what it is the best in."""
    varied = [axis for axis in VARIED if len(task.space.lists[axis]) > 1]
    figures = list(dict.fromkeys((*SHOWN, *objectives)))
    header = [*varied, "C x TR", "K", "users", "P", "stages", "S x P dies"]
    header += [name.removesuffix("_tokens") for name in figures] + ["best in"]
    best = {name: best_of(found.front, name) for name in objectives}
    rows = []
    for index, result in enumerate(found.front):
        of = result.parameters
        chip = [str(of[axis]) for axis in varied]
        chip += [f"{of['slices']} x {of['tile_rows']}", str(of["columns"]), str(of["users"])]
        chip += [str(of["positions"]), f"{of['broadcast_stages']} + {of['gather_stages']}"]
        chip += [f"{of['stages']} x {of['pieces']}"]
        values = [format(result.figures[name], QUANTITIES[name].form) for name in figures]
        rows.append([*chip, *values, ", ".join(n for n in objectives if best[n] == index)])
    return header, rows


def best_of(front: Sequence[Result], name: str) -> int:
    """Which point of the front is the best in one objective; -1 for none."""
    way = QUANTITIES[name].way
    return max(range(len(front)), key=lambda i: way * front[i].figures[name], default=-1)


def shortened(front: Sequence[Result], objectives: Sequence[str]) -> list[int]:
    """Which points a table shows: the best of each objective, and others evenly spaced."""
    if len(front) <= MOST_ROWS:
        return list(range(len(front)))
    chosen = {best_of(front, name) for name in objectives}
    room = MOST_ROWS - len(chosen)
    others = [index for index in range(len(front)) if index not in chosen]
    chosen |= {others[i * (len(others) - 1) // max(room - 1, 1)] for i in range(room)}
    return sorted(chosen)
