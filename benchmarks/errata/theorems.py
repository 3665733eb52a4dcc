"""Theorems."""

from __future__ import annotations

import math

import numpy as np
import torch

from benchmarks.errata.numerics import response
from benchmarks.errata.registry import Numbers, erratum
from pyrorec.models.integrals.normal import logistic_normal


@erratum("T1")
def ranking_invariance() -> Numbers:
    """Users of 50 whose ranking changes under S_do: one gamma for all items, a gamma of each item (maths 1.4)."""
    generator = np.random.default_rng(0)
    affinity = torch.as_tensor(generator.normal(-1, 1, (50, 30)))
    own = torch.as_tensor(generator.uniform(0, 4, 30)).expand(50, 30)
    changed = [
        int((logistic_normal(affinity, effect).argsort(1) != affinity.argsort(1)).any(1).sum())
        for effect in (own, torch.full_like(affinity, 2.0))
    ]
    return {"users of 50 whose order changes: gamma of each item / of all": (changed[0], changed[1])}


@erratum("T2")
def predictive_ranking() -> Numbers:
    """E S at posterior mean -2 of a, gamma = 1, posterior variances .05 and 2 (maths 7.3)."""
    return {
        "mean score of a well-known / unknown item, both a = -2": (
            response(-2.0, math.sqrt(0.05 + 1)),
            response(-2.0, math.sqrt(2 + 1)),
        )
    }
