"""Rules that look at exposure: beta-binomial, and exposure that popularity drives."""

from __future__ import annotations

import math

import numpy as np
import pyro.distributions as dist
import pytest
from eb_worlds import Array, gradient_error, standard_errors
from scipy import stats
from scipy.special import expit, logit

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes import BetaBinomial, Counts, GammaPoissonML, InformativeExposure
from pyrorec.inference.empirical_bayes import beta_binomial as bb
from pyrorec.inference.empirical_bayes import informative_exposure as ie


def click_world(items: int, seed: int) -> tuple[Array, Counts]:
    """True click rates from Beta(1.5, 20), and clicks among 10 to 200 impressions."""
    rng = np.random.default_rng(seed)
    p, exposure = rng.beta(1.5, 20, items), rng.integers(10, 200, items)
    return p, Counts(rng.binomial(exposure, p), exposure)


def driven_world(items: int, seed: int) -> tuple[Array, Counts]:
    """True z from Gamma(2, 20), shown in proportion to it, but for noise."""
    rng = np.random.default_rng(seed)
    z = rng.gamma(2, 1 / 20, items)
    exposure = np.ceil(500 * z * np.exp(0.5 * rng.normal(size=items)))
    return z, Counts(rng.poisson(exposure * z), exposure)


def test_the_marginal_is_the_beta_binomial() -> None:
    counts = Counts(np.array([0, 3, 10]), np.array([5, 9, 10]))
    found = bb.BetaPopulation(0.2, 7.0).log_marginal(counts)
    np.testing.assert_allclose(found, stats.betabinom.logpmf(counts.n, counts.exposure, 1.4, 5.6), rtol=1e-12)
    limit = bb.BetaPopulation(0.2, math.inf).log_marginal(counts)
    np.testing.assert_allclose(limit, stats.binom.logpmf(counts.n, counts.exposure, 0.2), rtol=1e-12)


@pytest.mark.parametrize("at", [[-2.0, 1.0], [0.5, 3.0]])
def test_gradients_are_those_of_the_likelihoods(at: list[float]) -> None:
    groups = click_world(200, seed=1)[1].groups()
    x = np.log(groups.exposure) - 4
    assert gradient_error(lambda a: bb.mean_likelihood(groups, a), at) < 1e-7
    assert gradient_error(lambda a: ie._gamma(groups, x, a), [at[0], -2.0, 0.3]) < 1e-6
    assert gradient_error(lambda a: ie._poisson(groups, x, a), [-2.0, 0.3]) < 1e-6


def test_beta_binomial_recovers_the_truth_and_covers() -> None:
    """Both parameters within 4 standard errors; 90 % intervals of 5,000 items within 4 of .0042."""
    p, counts = click_world(5000, seed=2)
    estimate = BetaBinomial().fit(counts)
    law, items = estimate.population.law, estimate.items.law
    truth = np.array([logit(1.5 / 21.5), math.log(21.5)])
    errors = standard_errors(lambda at: bb.mean_likelihood(counts.groups(), at), truth, 5000)
    found = np.array([logit(float(law.mean)), math.log(float(law.concentration1 + law.concentration0))])
    assert np.abs((found - truth) / errors).max() < 4
    lower, upper = (stats.beta.ppf(q, items.concentration1.numpy(), items.concentration0.numpy()) for q in (0.05, 0.95))
    assert ((lower < p) & (p < upper)).mean() == pytest.approx(0.9, abs=4 * 0.0042)


def test_clicks_that_vary_less_than_a_binomial_give_one_click_rate() -> None:
    estimate = BetaBinomial().fit(Counts(np.array([3, 4, 3, 4]), np.full(4, 10)))
    assert estimate.degenerate
    assert float(estimate.population.law.mean) == pytest.approx(0.35)


def test_a_degenerate_click_rate_needs_no_more_spread_than_chance() -> None:
    """The slope by the variance of p, by finite differences of the exact likelihood."""
    counts, p = Counts(np.array([1, 6, 3, 4]), np.array([10, 12, 9, 11])), 14 / 42
    wide = bb.BetaPopulation(p, 1e4).log_marginal(counts).sum()
    none = bb.BetaPopulation(p, math.inf).log_marginal(counts).sum()
    slope = (wide - none) / (p * (1 - p) / (1e4 + 1))
    assert slope == pytest.approx(bb.excess(counts, p) / (2 * (p * (1 - p)) ** 2), rel=0.03)


@pytest.mark.parametrize(
    ("n", "exposure", "sentence"),
    [([1, 2], [1.5, 3], "whole impressions"), ([4, 2], [3, 3], "no fewer"), ([3, 2], [3, 2], "Every impression")],
)
def test_beta_binomial_refuses_what_are_no_impressions(n: list[int], exposure: list[float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        BetaBinomial().fit(Counts(np.array(n), np.array(exposure)))


def test_exposure_driven_by_popularity_biases_what_takes_it_as_given() -> None:
    """Ten logs of 3,000 items: the naive mean is 10 % too high or more, the regression's within 3 % of the truth."""
    naive, given, shapes = [], [], []
    for seed in range(10):
        _, counts = driven_world(3000, seed)
        first, second = GammaPoissonML().fit(counts), InformativeExposure().fit(counts)
        assert second.log_likelihood > first.log_likelihood + 180
        naive.append(float(first.population.law.mean))
        given.append(float(second.population.law.mean))
        shapes.append(float(second.population.law.concentration))
    assert np.mean(naive) > 0.11
    assert np.mean(given) == pytest.approx(0.1, rel=0.03)
    assert 2.2 < np.mean(shapes) < 2.6  # truth 2: only the mean can be relied on, and a note says so
    assert "convention" in second.notes[0]


def test_exposure_that_tells_nothing_leaves_the_gamma_as_it_was() -> None:
    rng = np.random.default_rng(3)
    exposure = rng.integers(20, 200, 3000)
    counts = Counts(rng.poisson(exposure * rng.gamma(2, 1 / 20, 3000)), exposure)
    plain, given = GammaPoissonML().fit(counts), InformativeExposure().fit(counts)
    assert 0 <= given.log_likelihood - plain.log_likelihood < 6
    assert float(given.population.law.mean) == pytest.approx(float(plain.population.law.mean), rel=0.02)
    assert float(given.population.law.concentration) == pytest.approx(
        float(plain.population.law.concentration), rel=0.05
    )


def test_popularity_that_exposure_explains_in_full_has_a_law_still() -> None:
    exposure = np.geomspace(1, 1000, 60)
    counts = Counts(np.round(exposure**1.5 / 10), exposure)
    estimate = InformativeExposure().fit(Counts(np.append(counts.n, 0), np.append(exposure, 0)))
    law, items = estimate.population.law, estimate.items.law
    assert isinstance(law, dist.Gamma)
    assert float(law.stddev) > 0.3 * float(law.mean)
    np.testing.assert_allclose(items.mean[:-1], exposure**0.5 / 10, rtol=0.2)
    assert float(items.concentration[-1]) == pytest.approx(float(law.concentration))


def test_equal_exposures_are_refused() -> None:
    with pytest.raises(InputError, match="All exposures are equal"):
        InformativeExposure().fit(Counts(np.array([1, 5]), np.ones(2)))


def test_the_logit_of_the_mean_is_the_first_parameter() -> None:
    assert bb.BetaPopulation(float(expit(-1.0)), 5.0).population().mean.item() == pytest.approx(expit(-1.0))
