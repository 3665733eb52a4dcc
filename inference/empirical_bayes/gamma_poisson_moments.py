"""Gamma-Poisson by moments: no iteration, any exposures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pyrorec.inference.empirical_bayes.base import Rule
from pyrorec.inference.empirical_bayes.counts import Counts
from pyrorec.inference.empirical_bayes.negative_binomial import GammaPopulation


@dataclass(frozen=True)
class GammaPoissonMoments(Rule):
    """z ~ Gamma, its mean and variance set to unbiased estimates (maths 3.1).

    The start of GammaPoissonML, less precise. A variance estimate not above zero gives one popularity for all.
    """

    name: ClassVar[str] = "gamma-poisson moments"

    def learn(self, counts: Counts) -> GammaPopulation:
        mean, variance = moments(counts)
        return GammaPopulation(mean, mean**2 / variance if variance > 0 else np.inf)


def moments(counts: Counts) -> tuple[float, float]:
    """Estimates of the mean and variance of z (maths 3.1); the variance is unbiased and may be negative."""
    exposure, mean = counts.exposure, counts.rate
    total = exposure.sum()
    spread = (exposure * (counts.n / exposure - mean) ** 2).sum()
    return mean, float((spread - (len(counts) - 1) * mean) / (total - (exposure**2).sum() / total))
