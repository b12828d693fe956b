"""A published, measured or assumed figure: a value that says whence it comes and how sure it is.

In TOML, one line a figure:

    wafer_usd = { value = 9346, low = 8000, high = 10000, unit = "USD", kind = "paper",
                  source = "CSET, AI Chips, 2020", note = "..." }

or a curve over a size, whose values are lists:

    rom_efficiency = { at = [1024, 8192], over = "words", value = [0.19, 0.52], ... }
"""

from __future__ import annotations

import math
import tomllib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardcast.errors import HardcastError

KINDS = {
    "measured": "measured by us, or by the third party named",
    "claim": "a vendor's own word",
    "reported": "a third party's word",
    "paper": "simulated, drawn or analysed in a paper or an open repository",
    "derived": "arithmetic on other figures, shown in the note",
    "estimated": "our judgement; has a band",
}
_KEYS = {"value", "low", "high", "unit", "kind", "source", "note", "at", "over"}
_TEXTS = ("unit", "kind", "source")


@dataclass(frozen=True)
class Figure:
    """One figure. value: the point; low, high: the band that sources or judgement leave.

    A curve has one value for each of `at` (ascending, positive) and is read between them on
    logarithmic axes, and beyond its ends as at them. over: the unit of `at`.
    """

    name: str
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    unit: str
    kind: str
    source: str
    note: str = ""
    at: tuple[float, ...] = ()
    over: str = ""

    @property
    def is_certain(self) -> bool:
        """Whether there is no band."""
        return self.low == self.high

    def quantile(self, u: float | np.ndarray) -> np.ndarray:
        """float64[points of the curve, *shape of u]: the figure at quantiles u in 0..1.

        Half of the probability lies on either side of the point, evenly on a logarithmic scale
        (linear where the band reaches 0 or below): the median is the point whatever the band.
        """
        u = np.asarray(u, np.float64)
        rows = [_between(*band, u) for band in zip(self.low, self.value, self.high, strict=True)]
        return np.stack(rows)

    def read(self, values: np.ndarray, x: float | np.ndarray) -> np.ndarray:
        """`values` (as from quantile) at x on the curve's axis."""
        if values.ndim == 1 and np.ndim(x) == 0:
            return np.array(on_curve(self.at, values.tolist(), float(x)))
        at, logs = np.log(self.at), np.log(values)
        place = np.clip(np.log(x), at[0], at[-1])
        after = np.clip(np.searchsorted(at, place), 1, len(at) - 1)
        part = (place - at[after - 1]) / (at[after] - at[after - 1])
        if values.ndim > 1 and np.ndim(x):  # a sample for each x
            columns = np.arange(values.shape[1])
            before, behind = logs[after - 1, columns], logs[after, columns]
        else:
            before, behind = logs[after - 1], logs[after]
        return np.exp(before + part * (behind - before))

    def to_json(self) -> dict[str, Any]:
        """As in TOML; single values for what is no curve."""

        def plain(values: tuple[float, ...]) -> float | list[float]:
            return list(values) if self.at else values[0]

        found: dict[str, Any] = {
            "value": plain(self.value),
            "low": plain(self.low),
            "high": plain(self.high),
            **{name: getattr(self, name) for name in _TEXTS},
        }
        if self.note:
            found["note"] = self.note
        if self.at:
            found |= {"at": list(self.at), "over": self.over}
        return found


def on_curve(at: Sequence[float], values: Sequence[float], x: float) -> float:
    """One value at one place: as for arrays, a tenth of the time."""
    x = min(max(x, at[0]), at[-1])
    after = min(max(bisect_left(at, x), 1), len(at) - 1)
    part = math.log(x / at[after - 1]) / math.log(at[after] / at[after - 1])
    return values[after - 1] * (values[after] / values[after - 1]) ** part


def _between(low: float, value: float, high: float, u: np.ndarray) -> np.ndarray:
    if low > 0:
        a, b, c = math.log(low), math.log(value), math.log(high)
        return np.exp(np.where(u < 0.5, a + (b - a) * 2 * u, b + (c - b) * (2 * u - 1)))
    return np.where(u < 0.5, low + (value - low) * 2 * u, value + (high - value) * (2 * u - 1))


def load_figures(path: Path) -> tuple[dict[str, str], dict[str, Figure]]:
    """A TOML file's texts (its top-level strings) and its figures, in the file's order.

    Figures may stand in tables, whose names are then put before theirs with a dot.
    Raises HardcastError for a file that is no TOML and for a figure without value, unit, kind or
    source, with an unknown kind or key, or a band that does not hold its value.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HardcastError(f"{path}: cannot be read as TOML ({error!s:.120})") from None
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    tables = {name: value for name, value in data.items() if name not in texts}
    return texts, dict(_figures(path.name, "", tables))


def _figures(file: str, prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    for key, entry in table.items():
        name = prefix + key
        if isinstance(entry, dict) and not _KEYS & set(entry):
            yield from _figures(file, f"{name}.", entry)
        else:
            yield name, parse_figure(f"{file}: {name}", name, entry)


def parse_figure(where: str, name: str, entry: Any) -> Figure:
    """A figure from its TOML table. Raises HardcastError that begins with `where`."""
    if not isinstance(entry, dict):
        raise HardcastError(
            f"{where} is a bare {entry!r:.40}: a figure has value, unit, kind, source"
        )
    if unknown := sorted(set(entry) - _KEYS):
        raise HardcastError(f"{where} has unknown key {unknown[0]}")
    for key in ("value", *_TEXTS):
        if key not in entry or entry[key] == "":
            raise HardcastError(f"{where} has no {key}: every figure needs one")
    for key in (*_TEXTS, "note", "over"):
        if not isinstance(entry.get(key, ""), str):
            raise HardcastError(f"{where}: {key} is {entry[key]!r:.40}, expected text")
    if entry["kind"] not in KINDS:
        raise HardcastError(f"{where}: kind {entry['kind']!r}; there are: {', '.join(KINDS)}")
    if entry["kind"] == "estimated" and not {"low", "high"} <= set(entry):
        raise HardcastError(f"{where} is estimated and has no low and high")
    if entry["kind"] == "derived" and not entry.get("note"):
        raise HardcastError(f"{where} is derived and has no note that shows how")
    at = _numbers(where, "at", entry["at"]) if "at" in entry else ()
    value = _numbers(where, "value", entry["value"])
    low = _numbers(where, "low", entry.get("low", entry["value"]))
    high = _numbers(where, "high", entry.get("high", entry["value"]))
    count = len(at) if at else 1
    if not len(value) == len(low) == len(high) == count:
        raise HardcastError(f"{where}: expected {count} values, low and high ends")
    if any(not a <= b <= c for a, b, c in zip(low, value, high, strict=True)):
        raise HardcastError(f"{where}: the value does not lie within low and high")
    if at and (
        count < 2
        or min(at) <= 0
        or min(low) <= 0
        or any(a >= b for a, b in zip(at[:-1], at[1:], strict=True))
    ):
        raise HardcastError(f"{where}: a curve has two or more positive, ascending places")
    texts = {key: entry[key] for key in _TEXTS}
    return Figure(
        name,
        value,
        low,
        high,
        **texts,
        note=entry.get("note", ""),
        at=at,
        over=entry.get("over", ""),
    )


def _numbers(where: str, key: str, entry: Any) -> tuple[float, ...]:
    values = entry if isinstance(entry, list) else [entry]
    for value in values:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise HardcastError(f"{where}: {key} is {value!r:.40}, expected a number")
    return tuple(float(value) for value in values)
