"""Signs and links."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from benchmarks.errata.numerics import EXPIT
from benchmarks.errata.registry import Numbers, erratum


@erratum("B7")
def sign_of_intercept() -> Numbers:
    """1 / (1 + exp(-u.i + b0)) at u.i = 1.7, b0 = -.4 (maths 1.3)."""
    return {"P(click), u.i = 1.7, b0 = -.4": (1 / (1 + math.exp(-1.7 - 0.4)), float(EXPIT(1.7 - 0.4)))}


@erratum("B8")
def sign_of_popularity() -> Numbers:
    """1 / (1 + exp(-u.i + gamma z + b0)) falls in z, gamma = 1 (maths 1.3)."""
    return {
        f"P(click) at z = {z}, gamma = 1": (1 / (1 + math.exp(-1.7 + z - 0.4)), float(EXPIT(1.7 + z - 0.4)))
        for z in (0, 1, 2)
    }


@erratum("B10")
def decreasing_link() -> Numbers:
    """sigma(-lambda z) against tanh(lambda z / 2) (maths 1.3)."""
    return {f"g at lambda z = {x:g}": (float(EXPIT(-x)), math.tanh(x / 2)) for x in (0.0, 0.5, 1.0, 3.0)}


@erratum("B11")
def name_of_the_saturation() -> Numbers:
    """The survival function of Exp(1) at 1 (maths 1.3)."""
    return {"survival function of Exp(1) at 1": (-math.expm1(-1.0), float(stats.expon.sf(1.0)))}


@erratum("B26")
def no_interaction() -> Numbers:
    """Distinct orders of eight items over fifty users, with and without an interaction (maths 1.3)."""
    generator = np.random.default_rng(0)
    users, items = generator.standard_normal((50, 4)), generator.standard_normal((8, 4))
    linear, bilinear = users.sum(1)[:, None] + items.sum(1), users @ items.T
    orders = [len({tuple(row) for row in np.argsort(scores)}) for scores in (linear, bilinear)]
    return {"different rankings among 50 users": (orders[0], orders[1])}
