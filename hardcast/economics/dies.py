"""From a wafer to good dies: how many fit, how many work, and what repair saves.

Areas are mm2, defect densities a cm2. Everything is elementwise: floats or float64[samples].
"""

from __future__ import annotations

import numpy as np

from hardcast.errors import HardcastError
from hardcast.technology.assumptions import Assumptions, Real

MM2_A_CM2 = 100


def dies_per_wafer(die_mm2: Real, assumptions: Assumptions) -> Real:
    """Whole dies of an area on the node's wafer.

    pi (d/2)^2 / A - pi d / sqrt(2 A), rounded down: the wafer's area over the die's, less those
    that its edge cuts. d is the wafer less its edge exclusion, A the (square) die with its scribe.
    Source: de Vries, IEEE Trans. Semiconductor Manufacturing 18 (2005) 136, and most cost models.
    Raises HardcastError for a die of which no whole one fits in any sample; in a sample where none
    does it is priced as a whole wafer.
    """
    if not np.all(np.asarray(die_mm2) > 0):
        raise HardcastError(f"a die of {np.min(die_mm2):g} mm2: expected more than 0")
    diameter = assumptions["node.wafer_diameter"] - 2 * assumptions["node.wafer_edge"]
    area = (np.sqrt(die_mm2) + assumptions["node.scribe"]) ** 2
    whole = np.floor(np.pi * (diameter / 2) ** 2 / area - np.pi * diameter / np.sqrt(2 * area))
    if np.all(whole < 1):
        raise HardcastError(
            f"no whole die of {np.max(die_mm2):g} mm2 fits a wafer of {np.min(diameter):g} mm: "
            "use several smaller dies"
        )
    return np.maximum(whole, 1.0)


def poisson_yield(defects: Real) -> Real:
    """Share of dies without a defect, of `defects` expected a die, strewn evenly: exp(-x)."""
    return np.exp(-np.asarray(defects))


def murphy_yield(defects: Real) -> Real:
    """Murphy's: the density varies as a triangle between wafers, ((1 - exp(-x)) / x)^2."""
    some = np.maximum(defects, np.finfo(float).tiny)  # the limit at 0 is 1
    return (-np.expm1(-some) / some) ** 2


def seeds_yield(defects: Real) -> Real:
    """Seeds's: an exponential spread of densities, 1 / (1 + x)."""
    return 1 / (1 + np.asarray(defects))


def negative_binomial_yield(defects: Real, clustering: Real) -> Real:
    """Stapper's: a gamma spread of densities, (1 + x / alpha)^-alpha.

    clustering: alpha, above 0. At 1 it is Seeds's; the larger, the closer to Poisson's.
    """
    return (1 + np.asarray(defects) / clustering) ** -np.asarray(clustering)


def fatal_defects(die_mm2: Real, repairable_share: Real, assumptions: Assumptions) -> Real:
    """Defects expected a die that cannot be mended.

    A share r of the die has spares (rows or columns beside an array, tiles beside tiles), and of
    the defects that fall there a share s can be mended. Thinning a mixed Poisson process leaves one
    of the same spread, so A D (1 - r s) goes into any yield model in the place of A D.
    """
    defects = die_mm2 / MM2_A_CM2 * assumptions["node.defect_density"]
    return defects * (1 - repairable_share * assumptions["cost.repair_success"])


def die_yield(die_mm2: Real, repairable_share: Real, assumptions: Assumptions) -> Real:
    """Share of dies that work, after repair: negative binomial with the node's clustering."""
    defects = fatal_defects(die_mm2, repairable_share, assumptions)
    return negative_binomial_yield(defects, assumptions["node.defect_clustering"])
