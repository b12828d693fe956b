"""The die's picture is to scale."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from hardcast.chip.floorplan import Floorplan, Region, floorplan
from hardcast.report.die import MOST_THUMBS, picture, thumbnails, tile
from hardcast.report.study import Study
from tests.report.pages import case

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(case("llama-3.1-8b"))


def boxes(svg: str, name: str) -> list[tuple[float, float, float, float]]:
    """x, y, width, height of the rectangles of a class."""
    return [
        tuple(float(rect.get(key, "0")) for key in ("x", "y", "width", "height"))  # type: ignore[misc]
        for rect in ET.fromstring(svg).iter(f"{SVG}rect")
        if name in rect.get("class", "").split()
    ]


def test_regions_have_their_areas_and_do_not_overlap(study: Study) -> None:
    plan = floorplan(study.estimate)
    svg = picture(plan, study.reticle_mm, "a die")
    found = boxes(svg, "region")
    assert len(found) == len(plan.regions)
    ((_, _, wide, _),) = boxes(svg, "reticle")
    unit = wide / study.reticle_mm[0]
    for region, (_, _, width, height) in zip(plan.regions, found, strict=True):
        assert (width, height) == pytest.approx(
            (region.width * unit, region.height * unit), abs=0.06
        )
    for i, (x, y, w, h) in enumerate(found):
        for a, b, c, d in found[i + 1 :]:
            assert min(x + w, a + c) - max(x, a) < 0.2 or min(y + h, b + d) - max(y, b) < 0.2


def test_the_ruler_is_as_long_as_it_says(study: Study) -> None:
    plan = floorplan(study.estimate)
    svg = picture(plan, study.reticle_mm, "a die")
    ((start, end),) = re.findall(r'ruler" d="M([\d.]+) [\d.]+v8M[\d.]+ [\d.]+H([\d.]+)', svg)
    said = float(re.findall(r">([\d.]+) mm</text>", svg)[0])
    ((_, _, wide, _),) = boxes(svg, "reticle")
    assert float(end) - float(start) == pytest.approx(said * wide / study.reticle_mm[0], abs=0.1)


def test_a_die_beyond_the_reticle_shows_the_reticle_within_it() -> None:
    plan = Floorplan(40.0, 30.0, (Region("spine", 0, 0, 40.0, 30.0),), {"weights": 1.0})
    svg = picture(plan, (26.0, 33.0), "too large")
    ((_, _, width, height),) = boxes(svg, "reticle")
    ((_, _, die_width, die_height),) = boxes(svg, "region")
    assert width < die_width and height > die_height


def test_shares_of_a_tile(study: Study) -> None:
    plan = floorplan(study.estimate)
    found = boxes(tile(plan, {}, "a tile"), "region")
    areas = [width * height for _, _, width, height in found]
    shares = [area / sum(areas) for area in areas]
    assert shares == pytest.approx(list(plan.tile_shares.values()), abs=0.002)


@pytest.mark.parametrize("dies", [1, 2, 9, 43, 64, 300])
def test_every_die_has_a_thumbnail_of_its_shape(study: Study, dies: int) -> None:
    plan = floorplan(study.estimate)
    found = boxes(thumbnails(plan, dies, "dies"), "r-spine")
    assert len(found) == min(dies, MOST_THUMBS)
    spine = next(region for region in plan.regions if region.group == "spine")
    widths = {width for _, _, width, _ in found}
    assert len(widths) == 1
    unit = widths.pop() / spine.width
    assert unit * plan.width > 10


def test_labels_are_escaped() -> None:
    plan = Floorplan(10.0, 10.0, (Region("<b>", 0, 0, 10.0, 10.0),), {"weights": 1.0})
    svg = picture(plan, (26.0, 33.0), 'a "die" <script>')
    assert "<b>" not in svg and "<script>" not in svg
    assert ET.fromstring(svg).get("aria-label") == 'a "die" <script>'
