"""Divergences and the priors in them."""

from __future__ import annotations

import math

import numpy as np
import pyro.distributions as dist

from benchmarks.errata.numerics import double, number
from benchmarks.errata.registry import Numbers, erratum
from pyrorec.models.distributions.divergence import closed_form_kl


@erratum("B9")
def exponential_divergence() -> Numbers:
    """KL(Exp(2) || Exp(1)), rates (maths 1.3)."""
    right = closed_form_kl(dist.Exponential(*double(2.0)), dist.Exponential(*double(1.0)))
    return {"KL(Exp(2), Exp(1)), rates": (math.log(1 / 2) + 2 / 1 - 1, number(right))}


SHARES = 1 / np.arange(1, 10_001)
SHARES = SHARES / SHARES.sum()
ITEM_SD = 0.5


@erratum("B12")
def share_as_location() -> Numbers:
    """10,000 items with shares like 1 / rank, s0 = .5: share in place of the mean of log z (maths 1.3)."""
    top, bottom = float(SHARES[0]), float(SHARES[-1])
    half = ITEM_SD**2 / 2
    return {
        "median of the most over the least popular item": (math.exp(top - bottom), top / bottom),
        "KL between their priors": ((top - bottom) ** 2 / (4 * half), math.log(top / bottom) ** 2 / (4 * half)),
        "E z of an item with share .1022": (math.exp(top + half), math.exp(math.log(top) - half + half)),
        "E z over the median: sigma_0 for a variance": (math.exp(ITEM_SD / 2), math.exp(half)),
    }


@erratum("B12b")
def negatives_counted() -> Numbers:
    """Two items with 90 and 10 clicks and 100 sampled negatives each (maths 1.3)."""
    return {"share of the item with 90 of 100 clicks": (190 / 300, 90 / 100)}
