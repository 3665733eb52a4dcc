"""Beta-binomial: clicks among impressions, for click rates that are not small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import torch
from scipy.special import betaln, digamma, expit, gammaln, logit, xlog1py, xlogy

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes.base import Learned, Rule
from pyrorec.inference.empirical_bayes.conversions import Law
from pyrorec.inference.empirical_bayes.counts import Counts, Groups
from pyrorec.inference.empirical_bayes.optimise import maximise


@dataclass(frozen=True)
class BetaBinomial(Rule):
    """n_i ~ Binomial(E_i, p_i), p_i ~ Beta(a, b), a and b by maximum marginal likelihood (maths 3.5).

    Raises InputError where exposures are no numbers of trials, and where every trial succeeded.
    """

    name: ClassVar[str] = "beta-binomial"

    def learn(self, counts: Counts) -> BetaPopulation:
        if (counts.exposure != np.floor(counts.exposure)).any() or (counts.n > counts.exposure).any():
            raise InputError(
                "Beta-binomial needs whole impressions, no fewer than the clicks: build with click_counts."
            )
        p = counts.rate
        if p == 1:
            raise InputError("Every impression was clicked: there is no click rate to learn.")
        if excess(counts, p) <= 0:
            return BetaPopulation(p, math.inf)
        groups, start = counts.groups(), np.array([logit(p), math.log(total_by_moments(counts, p))])
        level, log_total = maximise(lambda at: mean_likelihood(groups, at), start)
        return BetaPopulation(float(expit(level)), float(np.exp(log_total)))


@dataclass(frozen=True)
class BetaPopulation(Learned):
    """p ~ Beta(a, b) with mean a / (a + b) and total a + b; total inf is one click rate for all, a Delta."""

    mean: float
    total: float

    def population(self) -> Law:
        mean = torch.tensor(self.mean, dtype=torch.float64)
        return dist.Delta(mean) if math.isinf(self.total) else dist.Beta(mean * self.total, (1 - mean) * self.total)

    def items(self, counts: Counts) -> Law:
        """Beta(a + n_i, b + E_i - n_i)."""
        n, exposure = torch.from_numpy(counts.n), torch.from_numpy(counts.exposure)
        if math.isinf(self.total):
            return dist.Delta(torch.full_like(n, self.mean))
        return dist.Beta(self.mean * self.total + n, (1 - self.mean) * self.total + exposure - n)

    def log_marginal(self, counts: Counts) -> np.ndarray:
        n, tried = counts.n, counts.exposure
        ways = gammaln(tried + 1) - gammaln(n + 1) - gammaln(tried - n + 1)
        if math.isinf(self.total):
            return ways + xlogy(n, self.mean) + xlog1py(tried - n, -self.mean)
        a, b = self.mean * self.total, (1 - self.mean) * self.total
        return ways + betaln(n + a, tried - n + b) - betaln(a, b)


def excess(counts: Counts, p: float) -> float:
    """Twice the slope of the likelihood by the variance of p at variance zero, times (p (1 - p))^2 (Tarone's test).

    Not above zero: clicks vary no more than one click rate for all makes them.
    """
    n, tried = counts.n, counts.exposure
    return float(((n - tried * p) ** 2 - n * (1 - p) ** 2 - (tried - n) * p**2).sum())


def total_by_moments(counts: Counts, p: float) -> float:
    """a + b from E (n - E p)^2 = E p (1 - p) + E (E - 1) Var p, kept where the likelihood is curved."""
    n, tried = counts.n, counts.exposure
    variance = ((n - tried * p) ** 2 - tried * p * (1 - p)).sum() / max(1.0, (tried * (tried - 1)).sum())
    return float(np.clip(p * (1 - p) / max(variance, 1e-12) - 1, 0.1, 1e4))


def mean_likelihood(groups: Groups, at: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log-likelihood an item at (logit mean, log total), and its gradient (2,)."""
    mean, total = float(expit(at[0])), float(np.exp(at[1]))
    share, n, tried = groups.weight / groups.weight.sum(), groups.n, groups.exposure
    a, b = mean * total, (1 - mean) * total
    both = digamma(a + b) - digamma(tried + a + b)
    by_a = share @ (digamma(n + a) - digamma(a) + both)
    by_b = share @ (digamma(tried - n + b) - digamma(b) + both)
    value = share @ BetaPopulation(mean, total).log_marginal(Counts(n, tried))
    return float(value), np.array([a * (1 - mean) * (by_a - by_b), a * by_a + b * by_b])
