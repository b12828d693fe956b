"""Contrast of the page's colours, on light and dark, by WCAG 2.1's formula."""

from __future__ import annotations

import re

import pytest

from hardcast.report.page import read

TEXT, GRAPHIC = 4.5, 3.0  # AA
PAIRS = [
    ("ink", "paper", TEXT),
    ("second", "paper", TEXT),
    ("accent", "paper", TEXT),
    ("ink", "panel", TEXT),
    ("second", "panel", TEXT),
    ("accent", "panel", TEXT),
    ("ink", "band", TEXT),
    ("paper", "ink", TEXT),
    ("on-fill", "fill", TEXT),
    ("on-tone2", "tone2", TEXT),
    ("on-tone3", "tone3", TEXT),
    ("ink", "tone4", TEXT),
    ("ink", "line", TEXT),
    ("fill", "paper", GRAPHIC),
    ("accent", "band", GRAPHIC),
]


def schemes() -> dict[str, dict[str, str]]:
    """Variables of both schemes; the dark one replaces what it names."""
    light, dark = re.findall(r":root \{(.*?)\}", read("style.css"), re.DOTALL)
    found = {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", text))
        for name, text in (("light", light), ("dark", dark))
    }
    return {"light": found["light"], "dark": {**found["light"], **found["dark"]}}


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(k * c for k, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_has_its_ends() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("one", "other", "least"), PAIRS)
def test_contrast(scheme: str, one: str, other: str, least: float) -> None:
    colours = schemes()[scheme]
    assert contrast(colours[one], colours[other]) >= least


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tones_can_be_told_apart(scheme: str) -> None:
    colours = schemes()[scheme]
    tones = [colours[name] for name in ("fill", "tone2", "tone3", "tone4")]
    for i, one in enumerate(tones):
        for other in tones[i + 1 :]:
            assert contrast(one, other) > 1.25
