"""Prior, posterior and do()."""

from __future__ import annotations

import numpy as np

from benchmarks.errata.numerics import response
from benchmarks.errata.registry import Numbers, erratum

POPULAR, CLICK, SHOWN = 0.2, (0.1, 0.4), (0.02, 0.06)


def click_given_shown(popular_share: float) -> float:
    """P(click) where an item is popular with this probability."""
    return (1 - popular_share) * CLICK[0] + popular_share * CLICK[1]


def popular_given_shown() -> float:
    """P(popular | shown) where popular items are shown three times as often."""
    joint = np.array([1 - POPULAR, POPULAR]) * SHOWN
    return float(joint[1] / joint.sum())


@erratum("B6")
def three_laws() -> Numbers:
    """Means of population prior, item prior (8 events, exposure 4) and posterior (30 more, exposure 12) (maths 1.3)."""
    population, item, posterior = 2 / 2, (2 + 8) / (2 + 4), (2 + 8 + 30) / (2 + 4 + 12)
    return {"mean of z: population, posterior": (population, posterior), "mean of z: item prior": (None, item)}


@erratum("B15")
def observational_or_interventional() -> Numbers:
    """P(click | shown) and P(click | do(show)) (maths 1.3)."""
    return {"P(click) if we show it": (click_given_shown(popular_given_shown()), click_given_shown(POPULAR))}


@erratum("B16")
def prior_that_assumes_no_confounding() -> Numbers:
    """P(click | shown) of the logged events, with p(z) in place of p(z | i) (maths 1.3)."""
    return {"P(click) of the logged events": (click_given_shown(POPULAR), click_given_shown(popular_given_shown()))}


@erratum("B17")
def item_prior_in_the_integral() -> Numbers:
    """Items (a, own law of z): (0, N(1.5, .5)) and (.5, N(-.5, .5)); population N(0, 1), gamma = 1 (maths 1.4)."""
    return {
        "score of the popular item, a = 0": (response(1.5, 0.5), response(0.0, 1.0)),
        "score of the other, a = .5": (response(0.0, 0.5), response(0.5, 1.0)),
    }
