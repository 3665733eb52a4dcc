"""The negative binomial, a Poisson with Gamma popularity integrated out, and what it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyro.distributions as dist
import torch
from scipy.special import betaln, digamma, gammaln, log1p, xlogy

from pyrorec.inference.empirical_bayes.base import Learned
from pyrorec.inference.empirical_bayes.conversions import Law
from pyrorec.inference.empirical_bayes.counts import Counts


def log_pmf(n: np.ndarray, mean: np.ndarray, shape: float) -> np.ndarray:
    """log p(n), n ~ Poisson(mean z), z ~ Gamma(shape, shape) (maths 3.1); the Poisson for shape inf. All (items,)."""
    if math.isinf(shape):
        return xlogy(n, mean) - mean - gammaln(n + 1)
    some = np.maximum(n, 1)
    # log Gamma(n + a) - log Gamma(a) - log n! as a beta function, which does not cancel for large shapes.
    ways = np.where(n > 0, -betaln(some, shape) - np.log(some), 0.0)
    return ways - shape * log1p(mean / shape) + xlogy(n, mean / (shape + mean))


def slopes(n: np.ndarray, mean: np.ndarray, shape: float) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of `log_pmf` by log shape and by log mean, (items,) each; the shape must be finite."""
    by_shape = digamma(n + shape) - digamma(shape) - log1p(mean / shape) + (mean - n) / (shape + mean)
    return shape * by_shape, shape * (n - mean) / (shape + mean)


def excess(n: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> float:
    """Sum of (n - mean)^2 - n: twice the slope of the likelihood by 1 / shape at a Poisson (maths 3.1, Levin-Reeds).

    Not above zero: the counts vary no more than a Poisson's, and the best shape is infinite.
    """
    return float((weight * ((n - mean) ** 2 - n)).sum())


@dataclass(frozen=True)
class GammaPopulation(Learned):
    """z ~ Gamma with this mean and shape; shape inf is one popularity for all, a Delta (maths 3.1)."""

    mean: float
    shape: float

    def population(self) -> Law:
        mean = torch.tensor(self.mean, dtype=torch.float64)
        if math.isinf(self.shape):
            return dist.Delta(mean)
        return dist.Gamma(mean.new_tensor(self.shape), self.shape / mean)

    def items(self, counts: Counts) -> Law:
        """Gamma(shape + n_i, rate + E_i)."""
        n, exposure = torch.from_numpy(counts.n), torch.from_numpy(counts.exposure)
        if math.isinf(self.shape):
            return dist.Delta(torch.full_like(n, self.mean))
        return dist.Gamma(self.shape + n, self.shape / self.mean + exposure)

    def log_marginal(self, counts: Counts) -> np.ndarray:
        return log_pmf(counts.n, self.mean * counts.exposure, self.shape)
