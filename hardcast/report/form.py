"""Numbers as a datasheet prints them: as many digits as they are worth, aligned, in fit units."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hardcast.technology.assumptions import Real
from hardcast.technology.uncertainty import Band

DIGITS = 3  # that a point is worth
WHOLE = 4  # digits of what is above a thousand
STEPS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
NEVER = "∞"


def decimals(value: float, digits: int = DIGITS) -> int:
    """Decimals that show so many digits of a value."""
    if value == 0 or not math.isfinite(value):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def rounded(value: float) -> float:
    """Whole numbers above a thousand to WHOLE digits: no model is worth more."""
    if not math.isfinite(value) or abs(value) < 1000:
        return value
    return round(value, WHOLE - 1 - math.floor(math.log10(abs(value))))


def number(value: Real, digits: int = DIGITS) -> str:
    """Three digits; four, with commas, above a thousand."""
    value = rounded(float(value))
    if not math.isfinite(value):
        return NEVER
    if value != 0 and abs(value) < 1e-6:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa} × 10^{int(exponent)}"
    return f"{value:,.{decimals(value, digits)}f}"


def large(value: Real, exact: bool = False) -> str:
    """As `number`, with a word for millions and more. exact: as given, without added zeros."""
    value, form = float(value), plain if exact else number
    for step, word in STEPS:
        if math.isfinite(value) and abs(value) >= step:
            return f"{form(value / step)} {word}"
    return form(value)


def usd(value: Real) -> str:
    """Dollars."""
    return f"${large(value)}" if math.isfinite(float(value)) else NEVER


def percent(share: Real, places: int = 1) -> str:
    """A share of 1."""
    return f"{float(share):.{places}%}".replace("%", " %")


@dataclass(frozen=True)
class Spread:
    """A band in print: three numbers of the same decimals in the same unit."""

    low: str
    point: str
    high: str
    unit: str

    def __str__(self) -> str:
        return f"{self.point} ({self.low} to {self.high}) {self.unit}".strip()


def spread(band: Band, unit: str = "") -> Spread:
    """A band in its unit; in millions and more where the point is that large."""
    factor, word = next(((s, w) for s, w in STEPS if abs(band.point) >= s), (1.0, ""))
    places = decimals(band.point / factor)
    low, point, high = (
        f"{rounded(value / factor):,.{places}f}" if math.isfinite(value) else NEVER
        for value in (band.low, band.point, band.high)
    )
    return Spread(low, point, high, f"{word} {unit}".strip())


def unit(text: str) -> str:
    """A unit as it is printed: powers raised, nothing for a plain number."""
    return "" if text == "1" else text.replace("um2", "µm²").replace("mm2", "mm²")


def plain(value: float) -> str:
    """A figure as it is given, with commas."""
    return f"{value:,.9g}"


def plural(count: int, word: str) -> str:
    """`1 die`, `2 dies`."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")
