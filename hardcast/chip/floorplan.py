"""Where a die's parts lie, to scale: rectangles for a picture.

The spine stands in the middle column with KV memory, attention and sampler; the columns of tiles,
each tile with its ROM, on both sides; the host port along the lower edge. Areas are the estimate's,
places are a drawing, since nothing is placed and routed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardcast.chip.estimate import Estimate

HOST, ARRAY, TILES = "host port", ("weights", "lanes", "adapters"), "tiles"


@dataclass(frozen=True)
class Region:
    """A rectangle of the die. x, y: lower left corner, mm. group: as in Estimate.groups, or TILES.

    columns, rows: of the tiles in it, 0 where it holds none.
    """

    group: str
    x: float
    y: float
    width: float
    height: float
    columns: int = 0
    rows: int = 0

    @property
    def area_mm2(self) -> float:
        """mm2."""
        return self.width * self.height


@dataclass(frozen=True)
class Floorplan:
    """One die: its sides in mm and the regions that cover it.

    tile_shares: of the area of tiles, what each of ARRAY takes (ROM, lanes, adapters).
    """

    width: float
    height: float
    regions: tuple[Region, ...]
    tile_shares: Mapping[str, float]


def floorplan(estimate: Estimate) -> Floorplan:
    """A die of the estimate at the figures' points; a piece of a stage shows its share of all."""
    chip, pieces = estimate.design.chip, estimate.design.pieces
    width, height = float(estimate.width_mm), float(estimate.height_mm)
    groups = {name: float(g.area_mm2) for name, g in estimate.groups.items() if g.area_mm2 > 0}
    scale = width * height / sum(groups.values())
    areas = {name: area * scale for name, area in groups.items()}
    strip = areas.pop(HOST) / width
    array = {name: areas.pop(name) for name in ARRAY if name in areas}
    upper = height - strip
    middle = sum(areas.values()) / upper
    left = (width - middle) * (chip.slices // 2) / chip.slices
    right = width - middle - left
    rows = -(-chip.tile_rows // pieces)
    regions = [Region(HOST, 0.0, 0.0, width, strip)]
    if left:
        regions.append(Region(TILES, 0.0, strip, left, upper, chip.slices // 2, rows))
    regions += _stacked(areas, left, strip, middle, upper)
    columns = chip.slices - chip.slices // 2
    regions.append(Region(TILES, left + middle, strip, right, upper, columns, rows))
    total = sum(array.values())
    return Floorplan(
        width, height, tuple(regions), {name: area / total for name, area in array.items()}
    )


def _stacked(
    areas: Mapping[str, float], x: float, y: float, width: float, height: float
) -> list[Region]:
    """Regions one above the other in a column, heights by their areas."""
    total, found = sum(areas.values()), []
    for name, area in areas.items():
        tall = height * area / total
        found.append(Region(name, x, y, width, tall))
        y += tall
    return found
