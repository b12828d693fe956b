"""The die, drawn to scale: regions, a tile, all dies of the system."""

from __future__ import annotations

from typing import Any

from hardcast.chip.floorplan import ARRAY, TILES, floorplan
from hardcast.report.die import MOST_THUMBS, TITLES, picture, thumbnails, tile
from hardcast.report.form import number, percent, plural
from hardcast.report.study import Study

IN_TILE = {"weights": "ROM", "lanes": "lanes", "adapters": "adapters"}


def section(study: Study) -> dict[str, Any]:
    """Pictures and the areas that they show."""
    made, dies = study.estimate, study.case.design.dies
    plan, reticle = floorplan(made), study.reticle_mm
    areas: dict[str, float] = {}
    for region in plan.regions:
        areas[region.group] = areas.get(region.group, 0.0) + region.area_mm2
    die_mm2 = plan.width * plan.height
    rows = [
        (f"r-{group.replace(' ', '-')}", TITLES[group], number(area), percent(area / die_mm2))
        for group, area in sorted(areas.items(), key=lambda item: -item[1])
    ]
    said = ", ".join(f"{name} {share}" for _, name, _, share in rows)
    count = sum(region.columns * region.rows for region in plan.regions)
    a_tile = areas[TILES] / count * 1e6
    shares = ", ".join(f"{IN_TILE[k]} {percent(v)}" for k, v in plan.tile_shares.items())
    return {
        "picture": picture(
            plan,
            reticle,
            f"Floorplan of a die of {plan.width:.1f} by {plan.height:.1f} mm: {said}",
        ),
        "regions": rows,
        "die_mm2": number(die_mm2),
        "width": f"{plan.width:.2f}",
        "height": f"{plan.height:.2f}",
        "reticle": f"{reticle[0]:g} × {reticle[1]:g}",
        "tile": tile(plan, IN_TILE, f"A tile by area: {shares}"),
        "tiles": f"{count:,}",
        "tile_um2": number(a_tile),
        "array": [IN_TILE[name] for name in ARRAY if name in plan.tile_shares],
        "dies": dies,
        "thumbnails": thumbnails(plan, dies, f"{plural(dies, 'die')} to one scale")
        if dies > 1
        else None,
        "shown": min(dies, MOST_THUMBS),
    }
