"""What it is, the headline figures, and what they mean beside an H100."""

from __future__ import annotations

from typing import Any

from hardcast.chip.estimate import estimate
from hardcast.report.form import Spread, number, plural, spread
from hardcast.report.sections.measured import in_a_line
from hardcast.report.study import Study

# Key of a study's headlines, what it is, its unit; "" begins a group.
HEADLINES = (
    ("", "Silicon", ""),
    ("die_mm2", "area of a die", "mm²"),
    ("area_mm2", "area of all dies", "mm²"),
    ("transistors", "transistors", ""),
    ("clock_ghz", "clock", "GHz"),
    ("", "Speed", ""),
    ("tokens_s_user", "tokens/s, one user", ""),
    ("tokens_s", "tokens/s, all users", ""),
    ("tokens_s_die", "tokens/s, a die", ""),
    ("", "Power", ""),
    ("power_w", "dies", "W"),
    ("card_w", "with regulators and card", "W"),
    ("watt_per_mm2", "density", "W/mm²"),
    ("mj_per_token", "energy a token, dies", "mJ"),
    ("wall_mj_per_token", "energy a token, at the wall", "mJ"),
    ("", "Price", ""),
    ("system_usd", "a system to make", "USD"),
    ("nre_usd", "design and masks, once", "USD"),
    ("respin_usd", "another model on the same die", "USD"),
    ("respin_weeks", "weeks from new weights to chips", ""),
    ("usd_per_million_tokens", "a million tokens", "USD"),
)
DECIDED = (
    ("tokens_s_user", "tokens/s, one user"),
    ("power_w", "power of the dies, W"),
    ("usd_per_million_tokens", "a million tokens, USD"),
)


def section(study: Study) -> dict[str, Any]:
    """Facts, headlines by group, and the two comparisons that only tell the truth together."""
    return {
        "facts": facts(study),
        "groups": groups(study),
        "truth": truth(study),
        "one_die_mm2": one_die(study),
        "deciders": deciders(study),
        "passed": sum(residual.passes for residual in study.residuals),
        "checks": len(study.residuals),
    }


def facts(study: Study) -> list[tuple[str, str]]:
    """What is cast, on what."""
    case, made = study.case, study.estimate
    design, subject = case.design, case.subject
    chip, shape = design.chip, subject.program.shape
    dies = plural(design.dies, "die")
    if design.dies > 1:
        dies += f": {plural(design.stages, 'chip')} in a row"
        if design.pieces > 1:
            dies += f", each cut into {design.pieces}"
    found = [
        ("Model", f"{subject.name}, {number(subject.parameters / 1e9)} billion weights"),
        (
            "Shape",
            f"{shape.num_hidden_layers} layers of {shape.hidden_size:,}, "
            f"{shape.num_attention_heads} heads, {shape.num_key_value_heads} KV heads "
            f"of {shape.head_dim}, vocabulary {shape.vocab_size:,}",
        ),
        ("Weights", f"recipe {subject.recipe}, {subject.code_bits:.2f} bits of code a weight"),
        ("Process", case.assumptions.texts["node.title"]),
        (
            "Chip",
            f"{chip.name}: {design.tiles:,} tiles of {chip.rows} × {chip.columns} lanes, "
            f"{chip.bits} bits",
        ),
        ("Dies", dies),
        (
            "Context",
            f"{chip.context:,} positions, {chip.positions} read a cycle; "
            f"{plural(chip.users, 'user')} a ROM read",
        ),
        ("Clock", f"{float(made.clock_ghz):.3f} GHz, {limit(made.clock_limit)}"),
    ]
    if case.quality is not None and (said := in_a_line(case.quality)):
        found.append(("Quality", said))
    return found


def deciders(study: Study) -> list[tuple[str, str]]:
    """The figure that moves each answer most."""
    found = []
    for key, what in DECIDED:
        swings = study.swings[key]
        if swings:
            ends = sorted((swings[0].at_low, swings[0].at_high))
            found.append((what, f"{swings[0].figure}: {number(ends[0])} to {number(ends[1])}"))
    return found


def limit(name: str) -> str:
    """What decides the clock."""
    return "as asked" if name == "given" else f"limited by {name}"


def groups(study: Study) -> list[tuple[str, list[tuple[str, Spread]]]]:
    """Headlines with their bands under their groups."""
    found: list[tuple[str, list[tuple[str, Spread]]]] = []
    design = study.case.design
    alone = {"area_mm2": design.dies == 1, "tokens_s": design.chip.users * design.stages == 1}
    for key, label, unit in HEADLINES:
        if not key:
            found.append((label, []))
        elif not alone.get(key):
            found[-1][1].append((label, spread(study.headlines[key], unit)))
    return found


def truth(study: Study) -> dict[str, str] | None:
    """Against the reference for one user, and a die at full load; None where it is not known."""
    if study.rival is None:
        return None
    mine, rival = study.rows[0].cells, study.rival.row.cells
    names = ("tokens_s_user", "times_user", "tokens_s_device", "times_device")
    if any(row[name].value is None for row in (mine, rival) for name in names):
        return None
    found = {name: number(mine[name].value or 0) for name in names}
    found |= {f"rival_{name}": number(rival[name].value or 0) for name in names}
    found["rival"] = study.rival.row.title
    found["users"] = plural(study.case.design.chip.users, "user")
    return found


def one_die(study: Study) -> str:
    """mm2 that one die would have where that is over the reticle; else ""."""
    case = study.case
    if case.design.dies == 1:
        return ""
    whole = float(estimate(case.asked, case.assumptions, case.position, case.clock_ghz).die_mm2)
    width, height = study.reticle_mm
    return number(whole) if whole > width * height else ""
