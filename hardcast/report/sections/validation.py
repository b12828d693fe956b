"""The model held against published chips with the same figures: what passes, and what does not."""

from __future__ import annotations

from typing import Any

from hardcast.economics.validate import Residual
from hardcast.report.form import large, unit
from hardcast.report.study import Study

# Words of a quantity's key that are spelt otherwise; units stand in a column of their own.
SPELT = {"hn": "HN", "kv": "KV", "sram": "SRAM", "nre": "NRE", "mm2": "", "w": "", "usd": ""}


def section(study: Study) -> dict[str, Any]:
    """Rows of all checks, and what each miss would need."""
    found = study.residuals
    return {
        "rows": [row(residual) for residual in found],
        "misses": [
            (name(r), str(r.remedy) if r.remedy else "", r.note) for r in found if not r.passes
        ],
        "passed": sum(r.passes for r in found),
        "count": len(found),
        "sources": sorted({(r.anchor, r.source) for r in found}),
    }


def name(r: Residual) -> str:
    """Anchor, quantity and place."""
    return f"{r.anchor.upper()}: {quantity(r)}"


def quantity(r: Residual) -> str:
    """A quantity's key in words, without the unit that stands beside it, and its place."""
    words = [
        SPELT.get(word, word) for word in r.quantity.replace("tokens_s", "tokens/s").split("_")
    ]
    text = " ".join(word for word in words if word)
    if not r.place:
        return text
    count, _, over = r.place.partition(" ")
    return f"{text} at {large(float(count), exact=True)} {over}"


def row(r: Residual) -> dict[str, Any]:
    """A check in print."""
    return {
        "anchor": r.anchor.upper(),
        "quantity": quantity(r),
        "unit": unit(r.unit),
        "published": large(r.published),
        "ours": large(r.ours),
        "ratio": f"{r.ratio:.2f}",
        "within": f"{1 / r.within:.2f}–{r.within:.2f}",
        "passes": r.passes,
        "kind": r.kind,
    }
