"""A rival's cells: what is published, what that leaves to be reckoned, and what there is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from hardcast.economics import cells
from hardcast.economics.cells import HERE, Band, Cell, number
from hardcast.economics.rivals import Claim, Rival
from hardcast.economics.roofline import (
    LENGTHS,
    can_bound,
    machine,
    reckon_batched,
    reckon_one_user,
)
from hardcast.economics.serving import serving_cost
from hardcast.models.shapes import NamedShape
from hardcast.technology.assumptions import Assumptions

# What a cost is reckoned from: column, and what it is called where it is missing.
_COST_OF = {"price_usd": "price", "power_w": "power", "tokens_s_system": "total of tokens/s"}


def rival_cells(
    rival: Rival,
    shape: NamedShape,
    a: Assumptions,
    utilisation: float | None,
    lengths: tuple[int, int],
) -> dict[str, Cell]:
    """The rival's cells by column, without the multipliers; arguments as for compare()."""
    batched = rival.batched_claim(shape, lengths)
    device = _device_cell(rival, shape, batched, lengths)
    devices = _devices_cell(rival, shape, batched or next(iter(rival.user_claims(shape)), None))
    found = {
        "tokens_s_user": _user_cell(rival, shape),
        "tokens_s_device": device,
        "devices": devices,
        "tokens_s_system": _product(device, devices, "tokens/s", "a device's, by devices"),
    }
    found["area_mm2"] = _share_cell(rival, "area_mm2", "mm2", devices)
    found["power_w"] = _share_cell(rival, "power_w", "W", devices)
    found["price_usd"] = _share_cell(rival, "price_usd", "USD", devices)
    joule = cells.quotient(
        found["power_w"], found["tokens_s_system"], "J", HERE, "power over tokens/s at full load"
    )
    found["mj_per_token"] = cells.times(joule, 1e3, joule.note, "mJ")
    found["usd_per_million_tokens"] = _rival_cost(rival, shape, found, a, utilisation)
    for column in ("cooling", "infrastructure"):
        found[column] = cells.of_text(rival.texts[column], rival.texts["source"])
    return found


def _user_cell(rival: Rival, shape: NamedShape) -> Cell:
    """The fastest published, with a band over all that is published of one user."""
    claims = rival.user_claims(shape)
    if claims:
        best = claims[0]
        band = (
            min(claim.figure.low[0] for claim in claims),
            best.figure.value[0],
            max(claim.figure.high[0] for claim in claims),
        )
        others = [f"{number(c.figure.value[0])} in {c.precision}" for c in claims[1:]]
        note = "; ".join(part for part in (best.precision, best.figure.note, *others) if part)
        return cells.of_band(band, "tokens/s", best.figure.kind, best.figure.source, note)
    reckoned = reckon_one_user(rival, shape)
    if reckoned is None:
        return cells.none("tokens/s", rival.texts["source"], _why(rival))
    band = (reckoned.low, reckoned.value, reckoned.high)
    return cells.of_band(band, "tokens/s", "derived", HERE, f"not published: {reckoned.note}")


def _device_cell(
    rival: Rival, shape: NamedShape, claim: Claim | None, lengths: tuple[int, int]
) -> Cell:
    if claim is not None and claim.lengths == lengths:
        return cells.of_figure(claim.figure)
    reckoned = reckon_batched(rival, shape, lengths)
    if reckoned is not None:
        band = (reckoned.low, reckoned.value, reckoned.high)
        return cells.of_band(band, "tokens/s", "derived", HERE, f"not published: {reckoned.note}")
    why = _why(rival)
    if claim is not None and claim.lengths is not None:
        of = f"{number(claim.figure.value[0])} at {claim.lengths[0]} in, {claim.lengths[1]} out"
        why = f"published at other lengths only: {of}"
    elif rival.texts["memory"] == "sram":
        why = "tokens/s of all users together are not published"
    return cells.none("tokens/s", rival.texts["source"], why)


def _why(rival: Rival) -> str:
    if rival.texts["memory"] == "rom":
        return "cast for another model"
    return "neither published nor to be reckoned from what is"


def _devices_cell(rival: Rival, shape: NamedShape, claim: Claim | None) -> Cell:
    if claim is not None and claim.devices is not None:
        return cells.of_figure(claim.devices)
    if claim is not None and rival.texts["memory"] == "rom":
        note = "the model is in its ROM"
        return cells.of_band((1.0, 1.0, 1.0), "devices", "derived", rival.texts["source"], note)
    if not can_bound(rival):
        return cells.none("devices", rival.texts["source"], _why(rival))
    precision = claim.precision if claim else rival.texts["precision"]
    need = float(machine(rival, precision, shape=shape).devices)
    note = f"at least: memory for the weights and {sum(LENGTHS):,} tokens of a user"
    return cells.of_band((need, need, need), "devices", "derived", HERE, note)


def _share_cell(rival: Rival, name: str, unit: str, devices: Cell) -> Cell:
    """Of so many devices, by what a system of them has; by bare devices where no more is known."""
    system, device = rival.figures.get(f"system.{name}"), rival.figures.get(f"device.{name}")
    if system is None and device is None:
        return cells.none(unit, rival.texts["source"], "not published")
    if devices.value is None:
        return cells.none(unit, rival.texts["source"], devices.note)
    if system is not None:
        count = rival.figures["system.devices"].value[0]
        factor = devices.value / count
        note = f"{number(devices.value)} of the {count:g} devices of a system; {system.note}"
        return cells.times(cells.of_figure(system), factor, note.removesuffix("; "))
    assert device is not None
    note = f"{number(devices.value)} bare devices; {device.note}".removesuffix("; ")
    return cells.times(cells.of_figure(device), devices.value, note)


def _rival_cost(
    rival: Rival,
    shape: NamedShape,
    found: Mapping[str, Cell],
    a: Assumptions,
    utilisation: float | None,
) -> Cell:
    bands = [_band(found[name]) for name in _COST_OF]
    price, power, tokens = bands
    if price and power and tokens:
        if rival.texts["memory"] == "rom":
            return cost_cell((0.0, 0.0, 0.0), power, tokens, a, utilisation, price)
        return cost_cell(price, power, tokens, a, utilisation)
    for table, note in (("usd_per_million_tokens", ""), ("api_usd", "a price, not a cost")):
        figure = rival.by_model(table, shape)
        if figure is not None:
            notes = "; ".join(part for part in (note, figure.note) if part)
            return dataclasses.replace(cells.of_figure(figure), note=notes)
    missing = next(name for name, band in zip(_COST_OF, bands, strict=True) if band is None)
    note = f"{_COST_OF[missing]}: {found[missing].note}"
    return cells.none("USD", found[missing].source, note)


def _band(cell: Cell) -> Band | None:
    if cell.low is None or cell.value is None or cell.high is None:
        return None
    return cell.low, cell.value, cell.high


def _product(one: Cell, other: Cell, unit: str, note: str) -> Cell:
    if other.value is None:
        return cells.none(unit, other.source, other.note)
    return cells.times(one, other.value, note)


def cost_cell(
    hardware: Sequence[float],
    power: Sequence[float],
    tokens: Sequence[float],
    a: Assumptions,
    utilisation: float | None,
    of_model: Sequence[float] = (0.0, 0.0, 0.0),
) -> Cell:
    """USD per million tokens of a system, from (low, point, high) of what it has and makes.

    hardware, of_model: its price in USD, the part that outlives the model and the part that does
    not. power: W at the wall. tokens: tokens/s at full load. The low end has hardware and power at
    their low ends and tokens at the high one; the assumptions are at their points.
    """
    found = serving_cost(
        np.array(hardware),
        np.array(power),
        np.array(tokens)[::-1],
        a,
        utilisation,
        model_hardware_usd=np.array(of_model),
    )
    low, value, high = (float(usd) for usd in np.asarray(found.usd_per_million_tokens))
    load = a["cost.utilisation"] if utilisation is None else utilisation
    note = f"hardware written off, power, building, network, operations; {load:.0%} of full load"
    if any(of_model):
        note += "; what is made for one model lasts as long as the model"
    return cells.of_band((low, value, high), "USD", "derived", HERE, note)
