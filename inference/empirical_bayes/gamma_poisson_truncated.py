"""Gamma-Poisson for a log that knows only the items with at least one event."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.optimize import brentq

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes.base import Rule
from pyrorec.inference.empirical_bayes.counts import Counts, Groups
from pyrorec.inference.empirical_bayes.gamma_poisson_ml import mean_likelihood, start
from pyrorec.inference.empirical_bayes.negative_binomial import GammaPopulation, excess
from pyrorec.inference.empirical_bayes.optimise import maximise

#: In place of a shape of zero, where the counts of the items seen follow the log-series.
LOG_SHAPE_ZERO = -15.0
#: Nats by which a shape must beat that limit (half the 95 % point of chi-square) to tell how many items are unseen.
TELLING = 1.92


@dataclass(frozen=True)
class GammaPoissonTruncated(Rule):
    """Gamma-Poisson by maximum likelihood given n_i >= 1 (maths 3.1), for catalogues read off the log itself.

    The population is that of all items, seen or not. Raises InputError for a count of zero, which shows that the
    catalogue is known: GammaPoissonML is then the rule.
    """

    name: ClassVar[str] = "gamma-poisson zero-truncated"

    def learn(self, counts: Counts) -> TruncatedGamma:
        if not counts.n.all():
            raise InputError("Some items have count 0, so items without events are known: use GammaPoissonML.")
        if not (counts.n > 1).any():
            raise InputError("Every item has exactly one event, which says nothing of items with none; count longer.")
        groups, mean = counts.groups(), _poisson_mean(counts)
        if truncated_excess(groups, mean * groups.exposure) <= 0:
            return TruncatedGamma(mean, math.inf, counts, math.inf)
        at = maximise(lambda x: truncated_likelihood(groups, x), start(counts))
        gain = len(counts) * (truncated_likelihood(groups, at)[0] - _log_series(groups, at))
        shape, mean = np.exp(at)
        return TruncatedGamma(float(mean), float(shape), counts, gain)


@dataclass(frozen=True)
class TruncatedGamma(GammaPopulation):
    """A Gamma population of which items without events were never seen.

    seen: the counts it was learned from. gain: nats by which its shape is likelier than one of zero.
    """

    seen: Counts
    gain: float

    def log_marginal(self, counts: Counts) -> np.ndarray:
        """log p(n_i | E_i, n_i >= 1): not comparable with rules that count zeros too."""
        return super().log_marginal(counts) - np.log(-np.expm1(-_surprise(self.mean * counts.exposure, self.shape)))

    @property
    def telling(self) -> bool:
        return self.gain >= TELLING

    def notes(self) -> tuple[str, ...]:
        unseen = _odds_of_zero(_surprise(self.mean * self.seen.exposure, self.shape)).sum()
        if not self.telling:
            return ("Shapes down to zero explain the counts, which do not tell how many items were never seen.",)
        return (f"About {unseen:.0f} items were never seen, beside the {len(self.seen)} that were.",)


def truncated_likelihood(groups: Groups, at: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean log-likelihood an item given n >= 1 at (log shape, log mean), and its gradient (2,)."""
    value, gradient = mean_likelihood(groups, at)
    shape, mean = np.exp(at)
    share, expected = groups.weight / groups.weight.sum(), mean * groups.exposure
    surprise = _surprise(expected, shape)
    by_shape = surprise - shape * expected / (shape + expected)
    by_mean = shape * expected / (shape + expected)
    pull = share * _odds_of_zero(surprise)
    return value - float(share @ np.log(-np.expm1(-surprise))), gradient - np.array([pull @ by_shape, pull @ by_mean])


def truncated_excess(groups: Groups, expected: np.ndarray) -> float:
    """Twice the slope of the truncated likelihood by 1 / shape at the Poisson (see `excess`)."""
    return excess(groups.n, expected, groups.weight) + float(groups.weight @ (expected**2 * _odds_of_zero(expected)))


def _log_series(groups: Groups, at: np.ndarray) -> float:
    """The largest mean log-likelihood with a shape of zero, from the rate at `at`; its one parameter is the rate."""

    def objective(log_rate: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = truncated_likelihood(groups, np.array([LOG_SHAPE_ZERO, LOG_SHAPE_ZERO - log_rate[0]]))
        return value, -gradient[1:]

    return objective(maximise(objective, at[:1] - at[1:]))[0]


def _surprise(expected: np.ndarray, shape: float) -> np.ndarray:
    """-log p(n = 0)."""
    return expected if math.isinf(shape) else shape * np.log1p(expected / shape)


def _odds_of_zero(surprise: np.ndarray) -> np.ndarray:
    """p(n = 0) / p(n > 0)."""
    return np.exp(-surprise) / -np.expm1(-surprise)


def _poisson_mean(counts: Counts) -> float:
    """The one popularity at which truncated Poisson counts have the sum observed."""

    def missing(log_mean: float) -> float:
        expected = np.exp(log_mean) * counts.exposure
        return float((expected / -np.expm1(-expected)).sum() - counts.n.sum())

    # Truncation only raises the mean, so the naive rate is not below the root; far below it each item counts one.
    return math.exp(brentq(missing, math.log(counts.rate) - 40, math.log(counts.rate) + 1e-6))
