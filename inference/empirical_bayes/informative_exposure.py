"""Popularity where popular items are shown more: the exposure itself tells of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyro.distributions as dist
import torch

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes.base import Learned, Rule
from pyrorec.inference.empirical_bayes.conversions import log_moments
from pyrorec.inference.empirical_bayes.counts import Counts, Groups
from pyrorec.inference.empirical_bayes.m_step import gamma_m_step
from pyrorec.inference.empirical_bayes.negative_binomial import excess, log_pmf, slopes
from pyrorec.inference.empirical_bayes.optimise import maximise

#: In place of an infinite shape, where exposure explains all of popularity: its sd is then a thousandth of its mean.
LARGEST_SHAPE = 1e6


@dataclass(frozen=True)
class InformativeExposure(Rule):
    """z_i given E_i ~ Gamma of mean exp(c0 + c1 log E_i), by maximum likelihood (maths 3.5).

    Rules that take exposure as given from outside are biased where popularity drives it. The population is the
    Gamma with the mean E z and E log z of the items' posteriors; beyond those moments it is a convention. Raises
    InputError where exposures do not differ.
    """

    name: ClassVar[str] = "gamma-poisson given exposure"

    def learn(self, counts: Counts) -> ExposureRegression:
        if np.ptp(counts.exposure) == 0:
            raise InputError("All exposures are equal, so they tell nothing of popularity: use GammaPoissonML.")
        groups = counts.groups()
        centre = float(np.average(np.log(groups.exposure), weights=groups.weight))
        x = np.log(groups.exposure) - centre  # level and slope are then nearly independent
        level, slope = maximise(lambda at: _poisson(groups, x, at), np.array([np.log(counts.rate), 0.0]))
        if excess(groups.n, groups.exposure * np.exp(level + slope * x), groups.weight) <= 0:
            return ExposureRegression(LARGEST_SHAPE, float(level), float(slope), centre, counts)
        log_shape, level, slope = maximise(lambda at: _gamma(groups, x, at), np.array([0.0, level, slope]))
        return ExposureRegression(float(np.exp(log_shape)), float(level), float(slope), centre, counts)


@dataclass(frozen=True)
class ExposureRegression(Learned):
    """z given E ~ Gamma(shape, shape / m(E)), log m(E) = level + slope (log E - centre); seen: what taught it."""

    shape: float
    level: float
    slope: float
    centre: float
    seen: Counts

    def population(self) -> dist.Gamma:
        posterior = self._posterior(self.seen)
        return gamma_m_step(posterior.mean, log_moments(posterior)[0])

    def items(self, counts: Counts) -> dist.Gamma:
        """Gamma(shape + n_i, shape / m(E_i) + E_i); the population's law for an item never shown."""
        law, shown = self.population(), counts.exposure > 0
        found, mask = self._posterior(counts.take(shown)), torch.from_numpy(shown)
        concentration, rate = (column.repeat(len(counts)) for column in (law.concentration, law.rate))
        concentration[mask], rate[mask] = found.concentration, found.rate
        return dist.Gamma(concentration, rate)

    def log_marginal(self, counts: Counts) -> np.ndarray:
        return log_pmf(counts.n, counts.exposure * self._means(counts), self.shape)

    def notes(self) -> tuple[str, ...]:
        return ("The population's mean is that of the items' posteriors; its shape is a convention beyond that.",)

    def _means(self, counts: Counts) -> np.ndarray:
        return np.exp(self.level + self.slope * (np.log(counts.exposure) - self.centre))

    def _posterior(self, counts: Counts) -> dist.Gamma:
        n, exposure = torch.from_numpy(counts.n), torch.from_numpy(counts.exposure)
        return dist.Gamma(self.shape + n, self.shape / torch.from_numpy(self._means(counts)) + exposure)


def _poisson(groups: Groups, x: np.ndarray, at: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log-likelihood at (level, slope) with no spread given exposure, and its gradient (2,)."""
    expected, share = groups.exposure * np.exp(at[0] + at[1] * x), groups.weight / groups.weight.sum()
    by_mean = share * (groups.n - expected)
    return float(share @ log_pmf(groups.n, expected, math.inf)), np.array([by_mean.sum(), by_mean @ x])


def _gamma(groups: Groups, x: np.ndarray, at: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log-likelihood at (log shape, level, slope), and its gradient (3,)."""
    shape, expected = np.exp(at[0]), groups.exposure * np.exp(at[1] + at[2] * x)
    share = groups.weight / groups.weight.sum()
    by_shape, by_mean = (share * slope for slope in slopes(groups.n, expected, shape))
    value = float(share @ log_pmf(groups.n, expected, shape))
    return value, np.array([by_shape.sum(), by_mean.sum(), by_mean @ x])
