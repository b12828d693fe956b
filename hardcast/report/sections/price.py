"""What a system costs, what is paid once, what tokens cost, and from when on it pays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hardcast.economics.quote import quote
from hardcast.economics.serving import ServingCost, chip_serving_cost
from hardcast.report import charts
from hardcast.report.form import NEVER, large, number, percent, spread, usd
from hardcast.report.plot import Plot, Table, draw
from hardcast.report.study import Study
from hardcast.technology.assumptions import Assumptions, Real
from hardcast.technology.uncertainty import Band, bands

LOADS = tuple(round(0.05 * i, 2) for i in range(1, 21))
VOLUMES = tuple(round(10 ** (i / 3)) for i in range(3, 19))  # 10 to 1,000,000 systems
MILLION = "USD a million tokens"


def section(study: Study) -> dict[str, Any]:
    """Plots, and the figures about them."""
    found, heads = study.quote, study.headlines
    return {
        "unit": steps(
            "unit", "What one system costs to make, step by step.", found.unit.parts, 1.0, "USD"
        ),
        "nre": steps(
            "nre",
            "What is paid once, before the first chip.",
            found.first.parts,
            1e6,
            "million USD",
        ),
        "load": against_load(study),
        "volume": against_volume(study),
        "shares": shares(study),
        "rows": rows(study),
        "systems": f"{study.case.systems:,}",
        "utilisation": percent(study.utilisation, 0),
        "cost": spread(heads["usd_per_million_tokens"], "USD"),
        "weeks": spread(heads["first_weeks"]),
        "respin_weeks": spread(heads["respin_weeks"]),
        "break_even": break_even(study),
        "rival": study.rival.row.title if study.rival else None,
        "rival_usd": rival_usd(study),
        "dies_per_wafer": f"{float(found.unit.dies_per_wafer):.0f}",
    }


def rows(study: Study) -> list[tuple[str, Any]]:
    """Prices with their bands."""
    names = (
        ("die_yield", "share of dies that work", ""),
        ("die_usd", "a good die, probed", "USD"),
        ("system_usd", "a system to make: cards and their share of servers", "USD"),
        ("price_usd", "a system to a buyer, at the maker's margin", "USD"),
        ("nre_usd", "design and masks of the first chip", "USD"),
        ("respin_usd", "masks and check of a further model", "USD"),
        ("first_weeks", "from the start of a design to tested chips", "weeks"),
        ("respin_weeks", "from new weights to tested chips", "weeks"),
        ("usd_per_million_tokens", "a million tokens", "USD"),
    )
    return [(label, spread(study.headlines[key], unit)) for key, label, unit in names]


def steps(name: str, caption: str, parts: Mapping[str, Real], unit: float, word: str) -> Plot:
    """A build-up: each bar begins where the one before it ended; the last is the sum."""
    values = {title: float(value) / unit for title, value in parts.items() if float(value) > 0}
    total = sum(values.values())
    bars, lines, start = [], [], 0.0
    for title, value in (*values.items(), ("together", total)):
        first = 0.0 if title == "together" else start
        said, share = number(value), percent(value / total)
        bars.append(
            {
                "name": title,
                "value": value,
                "start": first,
                "said": said,
                "tip": f"{title}: {said} {word}, {share}",
            }
        )
        lines.append([title, said, share])
        start += value
    told = ", ".join(f"{title} {share}" for title, _, share in lines[:-1])
    label = f"Build-up to {number(total)} {word}: {told}"
    return draw(
        name, caption, label, charts.bars(bars, word), Table(["part", word, "share"], lines)
    )


def costs(
    study: Study, loads: Mapping[str, float], volumes: Mapping[str, float]
) -> dict[str, Band]:
    """USD a million tokens by name, with a utilisation or a number of systems of its own."""
    c = study.case

    def answer(a: Assumptions) -> dict[str, Real]:
        product = quote(c.design, a, c.position, c.systems, c.utilisation, c.clock_ghz).product
        found = {
            name: chip_serving_cost(product, a, c.systems, load) for name, load in loads.items()
        }
        found |= {
            name: chip_serving_cost(product, a, count, c.utilisation)
            for name, count in volumes.items()
        }
        return {name: cost.usd_per_million_tokens for name, cost in found.items()}

    return bands(answer, c.assumptions)


def against_load(study: Study) -> Plot:
    """Cost of tokens over the utilisation."""
    found = costs(study, {percent(load, 0): load for load in LOADS}, {})
    rows, lines, theirs = [], [], []
    rival = study.rival
    for load, (name, band) in zip(LOADS, found.items(), strict=True):
        three = [number(band.low), number(band.point), number(band.high)]
        rows.append(_point(load, band, f"{name} busy: {three[1]} ({three[0]} to {three[2]}) USD"))
        line = [name, *three]
        if rival:
            cost = float(rival.serving(study.case.assumptions, load).usd_per_million_tokens)
            said = f"{rival.row.title}, {name} busy: {number(cost)} USD"
            theirs.append({"x": load, "y": cost, "name": rival.row.title, "tip": said})
            line.append(number(cost))
        lines.append(line)
    header = ["utilisation", "low", "point", "high", *([rival.row.title] if rival else [])]
    return draw(
        "load",
        f"Cost of a million tokens against utilisation, at {study.case.systems:,} systems; "
        "the band is that of all other figures.",
        f"Falling line: {lines[0][2]} USD at {lines[0][0]}, {lines[-1][2]} at {lines[-1][0]}",
        charts.curve(rows, "share of full load", MILLION, log_y=True, lines=theirs, percent_x=True),
        Table(header, lines),
    )


def against_volume(study: Study) -> Plot:
    """Cost of tokens over how many systems share design and masks."""
    found = costs(study, {}, {f"{count:,}": count for count in VOLUMES})
    rows, lines, theirs = [], [], []
    rival = study.rival
    price = rival_cost(study)
    for count, (name, band) in zip(VOLUMES, found.items(), strict=True):
        three = [number(band.low), number(band.point), number(band.high)]
        rows.append(
            _point(count, band, f"{name} systems: {three[1]} ({three[0]} to {three[2]}) USD")
        )
        lines.append([name, *three])
        if rival and price:
            said = f"{rival.row.title}: {number(price)} USD"
            theirs.append({"x": count, "y": price, "name": rival.row.title, "tip": said})
    return draw(
        "volume",
        "Cost of a million tokens against the systems that share design and masks, "
        f"at a utilisation of {percent(study.utilisation, 0)}"
        + ("." if study.case.utilisation else ", whose own band is in it."),
        f"Falling line: {lines[0][2]} USD with {lines[0][0]} systems, "
        f"{lines[-1][2]} with {lines[-1][0]}",
        charts.curve(rows, "systems", MILLION, log_x=True, log_y=True, lines=theirs),
        Table(["systems", "low", "point", "high"], lines),
    )


def _point(x: float, band: Band, tip: str) -> charts.Row:
    return {"x": x, "y": band.point, "low": band.low, "high": band.high, "tip": tip}


def rival_cost(study: Study) -> float | None:
    """The reference's USD a million tokens at the same utilisation, at the figures' points."""
    if study.rival is None:
        return None
    found = study.rival.serving(study.case.assumptions, study.case.utilisation)
    return float(found.usd_per_million_tokens)


def rival_usd(study: Study) -> str | None:
    """The same, in print."""
    cost = rival_cost(study)
    return None if cost is None else number(cost)


def break_even(study: Study) -> dict[str, str] | None:
    """Systems from which the chip's tokens are the cheaper ones."""
    found = study.break_even
    if found is None:
        return None
    ever = bool(np.isfinite(found.systems))
    return {
        "systems": f"{np.ceil(found.systems):,.0f}" if ever else NEVER,
        "tokens_a_day": large(found.tokens_a_day) if ever else NEVER,
        "floor": number(found.floor_usd),
        "nre": usd(found.nre_usd),
        "ever": "yes" if ever else "",
    }


def shares(study: Study) -> Plot:
    """The four parts of what serving costs, ours and the reference's."""
    found: list[tuple[str, ServingCost]] = [("this chip", study.quote.serving)]
    if study.rival:
        serving = study.rival.serving(study.case.assumptions, study.case.utilisation)
        found.append((study.rival.row.title, serving))
    rows, lines = [], []
    names = list(found[0][1].shares)
    for of, cost in found:
        for name, share in cost.shares.items():
            rows.append(
                {
                    "of": of,
                    "name": name,
                    "value": float(share),
                    "tip": f"{of}, {name}: {percent(share)}",
                }
            )
        lines.append([of, *(percent(share) for share in cost.shares.values())])
    told = "; ".join(
        f"{line[0]}: " + ", ".join(f"{n} {v}" for n, v in zip(names, line[1:], strict=True))
        for line in lines
    )
    return draw(
        "shares",
        "The four parts of what serving costs in a year.",
        f"Stacked shares. {told}",
        charts.stacked_bars(rows, names, "of the cost of serving"),
        Table(["", *names], lines),
    )
