"""Gamma-Poisson by maximum likelihood: the default rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pyrorec.inference.empirical_bayes.base import Rule
from pyrorec.inference.empirical_bayes.counts import Counts, Groups
from pyrorec.inference.empirical_bayes.gamma_poisson_moments import moments
from pyrorec.inference.empirical_bayes.negative_binomial import GammaPopulation, excess, log_pmf, slopes
from pyrorec.inference.empirical_bayes.optimise import maximise


@dataclass(frozen=True)
class GammaPoissonML(Rule):
    """z ~ Gamma(shape, rate), n_i ~ Poisson(E_i z_i), shape and rate by maximum marginal likelihood (maths 3.1).

    Counts that vary no more than a Poisson's give one popularity for all: shape inf, a Delta.
    """

    name: ClassVar[str] = "gamma-poisson"

    def learn(self, counts: Counts) -> GammaPopulation:
        groups, mean = counts.groups(), counts.rate
        if excess(groups.n, mean * groups.exposure, groups.weight) <= 0:
            return GammaPopulation(mean, np.inf)
        shape, mean = np.exp(maximise(lambda at: mean_likelihood(groups, at), start(counts)))
        return GammaPopulation(float(mean), float(shape))


def start(counts: Counts) -> np.ndarray:
    """(log shape, log mean) by moments, the shape kept where the likelihood is curved."""
    mean, variance = moments(counts)
    shape = mean**2 / variance if variance > 0 else np.inf
    return np.log([np.clip(shape, 1e-2, 1e3), mean])


def mean_likelihood(groups: Groups, at: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log-likelihood an item at (log shape, log mean), and its gradient (2,)."""
    shape, mean = np.exp(at)
    share, expected = groups.weight / groups.weight.sum(), mean * groups.exposure
    gradient = np.array([share @ slope for slope in slopes(groups.n, expected, shape)])
    return float(share @ log_pmf(groups.n, expected, shape)), gradient
