"""The die as a picture to scale: its regions, a scale bar, the reticle, a tile, all dies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from hardcast.chip.floorplan import TILES, Floorplan, Region
from hardcast.report.form import number

SIDE = 480.0  # of the larger picture's wider side, in its own units
MARGIN, BELOW = 8.0, 46.0
CHARACTER = 6.6  # width of a letter of the labels, about
LINE = 15.0  # height of a line of them
THUMBS = (340.0, 190.0)  # room for the thumbnails of all dies
MOST_THUMBS = 64

# What each group is called on the picture.
TITLES = {
    TILES: "tiles: ROM and lanes",
    "spine": "spine",
    "attention": "attention",
    "KV memory": "KV memory",
    "sampler": "sampler",
    "host port": "host port",
}


@dataclass(frozen=True)
class Scale:
    """From mm on a die to the picture's units. top: of the die, since y of a die points up."""

    unit: float
    left: float
    top: float
    height: float

    def box(self, region: Region) -> tuple[float, float, float, float]:
        """x, y, width and height of a region in the picture."""
        y = self.top + (self.height - region.y - region.height) * self.unit
        width, height = region.width * self.unit, region.height * self.unit
        return self.left + region.x * self.unit, y, width, height


def picture(plan: Floorplan, reticle: tuple[float, float], label: str) -> Markup:
    """The die within the reticle's outline, with a scale bar; labels where there is room."""
    wide, tall = max(reticle[0], plan.width), max(reticle[1], plan.height)
    unit = SIDE / max(wide, tall)
    scale = Scale(unit, MARGIN, MARGIN + (tall - plan.height) * unit, plan.height)
    parts = [
        f'<rect class="reticle" x="{MARGIN}" y="{MARGIN + (tall - reticle[1]) * unit:.1f}" '
        f'width="{reticle[0] * unit:.1f}" height="{reticle[1] * unit:.1f}"/>'
    ]
    for region in plan.regions:
        parts += _region(region, scale)
    bottom = MARGIN + tall * unit
    parts += _ruler(plan, unit, bottom + 14)
    size = (wide * unit + 2 * MARGIN, tall * unit + MARGIN + BELOW)
    return _svg(parts, size, label)


def _region(region: Region, scale: Scale) -> Iterator[str]:
    x, y, width, height = scale.box(region)
    name = region.group.replace(" ", "-")
    title = TITLES.get(region.group, region.group)
    tip = f"{title}: {number(region.area_mm2)} mm²"
    if region.columns:
        tip += f", {region.columns * region.rows:,} tiles in {region.columns} columns"
    yield (
        f'<rect class="region r-{escape(name)}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" data-tip="{escape(tip)}"/>'
    )
    if region.columns > 1:
        lines = "".join(
            f"M{x + width * i / region.columns:.1f} {y:.1f}v{height:.1f}"
            for i in range(1, region.columns)
        )
        yield f'<path class="columns" d="{lines}"/>'
    yield from _words(title, (x, y, width, height), name)


def _words(title: str, box: tuple[float, float, float, float], name: str) -> Iterator[str]:
    """A label in the middle: level, or upright in a narrow region, or none."""
    x, y, width, height = box
    long = len(title) * CHARACTER + 8
    middle = (x + width / 2, y + height / 2)
    turn = ""
    if long > width or height < LINE:
        if long > height or width < LINE:
            return
        turn = f' transform="rotate(-90 {middle[0]:.1f} {middle[1]:.1f})"'
    yield (
        f'<text class="label l-{escape(name)}" x="{middle[0]:.1f}" y="{middle[1]:.1f}" '
        f'dominant-baseline="central" text-anchor="middle"{turn}>{escape(title)}</text>'
    )


def _ruler(plan: Floorplan, unit: float, y: float) -> Iterator[str]:
    """A bar of a round number of mm, at most half of the die."""
    most = plan.width / 2
    step = 10.0 ** math.floor(math.log10(most))
    length = next(step * factor for factor in (5, 2, 1) if step * factor <= most)
    end = MARGIN + length * unit
    line = f"M{MARGIN} {y - 4}v8M{MARGIN} {y}H{end:.1f}M{end:.1f} {y - 4}v8"
    yield f'<path class="ruler" d="{line}"/>'
    yield f'<text class="small" x="{end + 7:.1f}" y="{y + 4}">{length:g} mm</text>'
    said = f"die {plan.width:.1f} × {plan.height:.1f} mm; dashed: reticle"
    yield f'<text class="small" x="{MARGIN}" y="{y + 24}">{said}</text>'


def tile(plan: Floorplan, names: Mapping[str, str], label: str) -> Markup:
    """One tile: its ROM, its lanes and what else it has, by area. names: what each is called."""
    parts: list[str] = []
    side, y, lowest = 190.0, MARGIN, 0.0
    for group, share in plan.tile_shares.items():
        height = side * share
        said = f"{names.get(group, group)} {share:.1%}".replace("%", " %")
        name = group.replace(" ", "-")
        parts.append(
            f'<rect class="region r-{escape(name)}" x="{MARGIN}" y="{y:.1f}" width="{side}" '
            f'height="{height:.1f}" data-tip="{escape(said)}"/>'
        )
        middle = y + height / 2
        lowest = max(middle, lowest + LINE)  # labels of thin parts stand below each other
        line = f"M{MARGIN + side} {middle:.1f}L{MARGIN + side + 12} {lowest:.1f}"
        parts.append(f'<path class="ruler" d="{line}"/>')
        parts.append(
            f'<text class="small" x="{MARGIN + side + 16}" y="{lowest + 4:.1f}">'
            f"{escape(said)}</text>"
        )
        y += height
    return _svg(parts, (340.0, max(side, lowest) + 2 * MARGIN), label)


def thumbnails(plan: Floorplan, dies: int, label: str) -> Markup:
    """Every die of the system at one scale; the first MOST_THUMBS where there are more."""
    shown, gap = min(dies, MOST_THUMBS), 4.0
    best, columns = 0.0, 1
    for count in range(1, shown + 1):  # as many columns as make them largest
        rows = -(-shown // count)
        unit = min(
            (THUMBS[0] - gap * (count - 1)) / count / plan.width,
            (THUMBS[1] - gap * (rows - 1)) / rows / plan.height,
        )
        if unit > best:
            best, columns = unit, count
    width, height = plan.width * best, plan.height * best
    parts = []
    for index in range(shown):
        x = (index % columns) * (width + gap)
        y = (index // columns) * (height + gap)
        scale = Scale(best, x, y, plan.height)
        for region in plan.regions:
            a, b, c, d = scale.box(region)
            name = escape(region.group.replace(" ", "-"))
            parts.append(
                f'<rect class="r-{name}" x="{a:.1f}" y="{b:.1f}" width="{c:.1f}" height="{d:.1f}"/>'
            )
    rows = -(-shown // columns)
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    return _svg(parts, size, label)


def _svg(parts: list[str], size: tuple[float, float], label: str) -> Markup:
    wide, tall = size
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="die" role="img" '
        f'aria-label="{escape(label)}" width="{wide:.0f}" height="{tall:.0f}" '
        f'viewBox="0 0 {wide:.1f} {tall:.1f}">' + "".join(parts) + "</svg>"
    )
