"""A node whose figures stand here, so that what the tests expect moves with no data file."""

from __future__ import annotations

import numpy as np

from hardcast.economics.cost_figures import cost_figures
from hardcast.economics.product import Product
from hardcast.technology.assumptions import Assumptions
from hardcast.technology.figure import parse_figure

NODE: dict[str, tuple[float, float, float]] = {  # low, value, high
    "node.wafer_price": (9346, 9346, 10000),
    "node.wafer_diameter": (300, 300, 300),
    "node.wafer_edge": (0, 3, 5),
    "node.scribe": (0, 0.1, 0.2),
    "node.defect_density": (0.07, 0.09, 0.15),
    "node.defect_clustering": (2, 3, 10),
    "node.mask_set": (8e6, 10.5e6, 20e6),
    "node.mask_pair": (236e3, 300e3, 400e3),
    "node.reticle_width": (26, 26, 26),
    "node.reticle_height": (33, 33, 33),
    "node.fab_weeks": (14, 18, 20),
    "node.respin_weeks": (3, 5, 8),
    "node.test_weeks": (2, 4, 6),
}


def assumed(**values: float) -> Assumptions:
    """The node above and cost_figures; `values` replace figures, their bands too.

    node_scribe stands for node.scribe.
    """
    figures = dict(cost_figures().figures)
    for name, (low, value, high) in NODE.items():
        figures[name] = parse_figure(
            name,
            name,
            {
                "value": value,
                "low": low,
                "high": high,
                "unit": "-",
                "kind": "derived",
                "source": "by hand",
                "note": "by hand",
            },
        )
    for key, given in values.items():
        name = key.replace("_", ".", 1)
        assert name in figures, name
        figures[name] = parse_figure(
            name,
            name,
            {"value": given, "unit": "-", "kind": "paper", "source": "by hand"},
        )
    return Assumptions(figures)


def at_sample(sampled: Assumptions, index: int) -> Assumptions:
    """One sample alone."""
    chosen = {name: float(np.asarray(u)[index]) for name, u in sampled.chosen.items()}
    return Assumptions(sampled.figures, chosen=chosen)


def product(**changes: float) -> Product:
    """An HC1-like product: one reticle-size die on a card."""
    fields: dict[str, float] = {
        "die_mm2": 815,
        "power_w": 200,
        "tokens_s_user": 16960,
        "tokens_s": 16960,
    }
    return Product(name="hc1-like", **{**fields, **changes})
