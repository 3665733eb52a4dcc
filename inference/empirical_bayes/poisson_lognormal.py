"""Poisson-lognormal by maximum likelihood: for popularity with a heavier tail than a Gamma's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pyrorec.inference.empirical_bayes.base import Rule
from pyrorec.inference.empirical_bayes.counts import Counts, Groups
from pyrorec.inference.empirical_bayes.lognormal_population import LogNormalPopulation, integrate
from pyrorec.inference.empirical_bayes.negative_binomial import excess
from pyrorec.inference.empirical_bayes.optimise import maximise


@dataclass(frozen=True)
class PoissonLogNormal(Rule):
    """log z ~ N(mu, s), n_i ~ Poisson(E_i z_i), mu and s by maximum marginal likelihood (maths 3.2).

    Item priors are the lognormals with the posterior mean and sd of log z_i.
    """

    name: ClassVar[str] = "poisson-lognormal"

    def learn(self, counts: Counts) -> LogNormalPopulation:
        groups, mean = counts.groups(), counts.rate
        # The slope by s^2 at s = 0 is that by 1 / shape of a Gamma, so both rules find no spread in the same counts.
        if excess(groups.n, mean * groups.exposure, groups.weight) <= 0:
            return LogNormalPopulation(float(np.log(mean)), 0.0)
        mu, sd = log_moments_start(counts)
        mu, log_sd = maximise(lambda at: mean_likelihood(groups, at), np.array([mu, np.log(np.clip(sd, 0.1, 2.0))]))
        return LogNormalPopulation(float(mu), float(np.exp(log_sd)))


def log_moments_start(counts: Counts) -> tuple[float, float]:
    """(mu, s) from the first two factorial moments (maths 3.2): too variable for anything but a start."""
    first = counts.rate
    second = float((counts.n * (counts.n - 1)).sum() / (counts.exposure**2).sum())
    variance = float(np.log(second / first**2)) if second > first**2 else 0.0
    return float(np.log(first)) - variance / 2, variance**0.5


def mean_likelihood(groups: Groups, at: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log-likelihood an item at (mu, log s), and its gradient (2,).

    The gradient is the posterior mean of the prior's score, (t - mu) / s^2 and (t - mu)^2 / s^2 - 1.
    """
    mu, sd = float(at[0]), float(np.exp(at[1]))
    share = groups.weight / groups.weight.sum()
    found = integrate(groups.n, groups.exposure, mu, sd)
    distance = found.mean - mu
    by_mu, by_log_sd = distance / sd**2, (found.sd**2 + distance**2) / sd**2 - 1
    return float(share @ found.log_marginal), np.array([share @ by_mu, share @ by_log_sd])
