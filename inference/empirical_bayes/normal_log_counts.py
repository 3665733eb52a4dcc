"""A normal law on log counts: a short cut for items with many events each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import torch

from pyrorec.inference.empirical_bayes.base import Rule
from pyrorec.inference.empirical_bayes.conversions import Law
from pyrorec.inference.empirical_bayes.counts import Counts
from pyrorec.inference.empirical_bayes.lognormal_population import LogNormalPopulation
from pyrorec.inference.empirical_bayes.optimise import maximise

#: Expected events an item from which log counts are free of bias (maths 3.3).
ENOUGH = 5.0


@dataclass(frozen=True)
class NormalLogCounts(Rule):
    """y_i = log((n_i + 1/2) / E_i) ~ N(mu, v_i + s^2), v_i = 1 / (n_i + 1/2), by maximum likelihood (maths 3.3).

    Biased where items have few events: the estimate says so in its notes below 5 events an item. Its log-likelihood
    is that of the counts under the lognormal it found, so that it compares with the other rules'.
    """

    name: ClassVar[str] = "normal on log counts"

    def learn(self, counts: Counts) -> NormalPopulation:
        y, variance = log_counts(counts)
        mu = float(np.average(y, weights=1 / variance))
        few = float(counts.n.mean())
        # The slope of the likelihood by s^2 at s = 0: not above zero, the items differ by chance only.
        if (((y - mu) / variance) ** 2 - 1 / variance).sum() <= 0:
            return NormalPopulation(mu, 0.0, few)
        start = np.array([y.mean(), np.log(max(y.std(), 0.1))])
        mu, log_sd = maximise(lambda at: mean_likelihood(y, variance, at), start)
        return NormalPopulation(float(mu), float(np.exp(log_sd)), few)


@dataclass(frozen=True)
class NormalPopulation(LogNormalPopulation):
    """log z ~ N(mu, sd), met by log counts; mean_count: events an item in the counts it was learned from."""

    mean_count: float

    def items(self, counts: Counts) -> Law:
        """Lognormals of log-precision 1 / s^2 + 1 / v_i; the population's for an item never shown."""
        if self.sd == 0:
            return super().items(counts)
        shown = counts.exposure > 0
        y, variance = log_counts(Counts(counts.n, np.where(shown, counts.exposure, 1.0)))
        precision = 1 / self.sd**2 + shown / variance
        mean = (self.mu / self.sd**2 + shown * y / variance) / precision
        return dist.LogNormal(torch.from_numpy(mean), torch.from_numpy(precision**-0.5))

    def notes(self) -> tuple[str, ...]:
        if self.mean_count >= ENOUGH:
            return ()
        return (
            f"Items have {self.mean_count:.2g} events on average; below 5 their logs are biased: PoissonLogNormal.",
        )


def log_counts(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """y_i and its sampling variance v_i, (items,) each."""
    return np.log((counts.n + 0.5) / counts.exposure), 1 / (counts.n + 0.5)


def mean_likelihood(y: np.ndarray, variance: np.ndarray, at: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log-density an item of y at (mu, log s), and its gradient (2,)."""
    spread = np.exp(2 * at[1])
    total, gap = variance + spread, y - at[0]
    value = -0.5 * (np.log(2 * np.pi * total) + gap**2 / total)
    return float(value.mean()), np.array([(gap / total).mean(), (spread * (gap**2 / total - 1) / total).mean()])
