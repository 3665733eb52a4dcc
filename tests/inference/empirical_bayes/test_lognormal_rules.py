"""Lognormal popularity: by quadrature, by the logs of counts, and by shares."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from eb_worlds import gamma_world, gradient_error, lognormal_world, standard_errors
from scipy import stats
from scipy.integrate import quad
from scipy.special import gammaln

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes import (
    Counts,
    GammaPoissonML,
    NormalLogCounts,
    PoissonLogNormal,
    ShareRule,
    lognormal_m_step,
)
from pyrorec.inference.empirical_bayes.lognormal_population import integrate, mode
from pyrorec.inference.empirical_bayes.normal_log_counts import log_counts
from pyrorec.inference.empirical_bayes.normal_log_counts import mean_likelihood as normal_likelihood
from pyrorec.inference.empirical_bayes.poisson_lognormal import log_moments_start, mean_likelihood
from pyrorec.inference.empirical_bayes.share_rule import share_location

MU, SD = 0.7, 1.2


def by_quad(n: float, exposure: float, mu: float, sd: float) -> tuple[float, float, float]:
    """log p(n), and mean and sd of log z given n, from integrals in pieces about the mode."""
    top = float(mode(np.array([n]), np.array([exposure]), mu, sd)[0])

    def exponent(t: float) -> float:
        return float(n * t - exposure * np.exp(t) - (t - mu) ** 2 / (2 * sd**2))

    peak, width = exponent(top), (exposure * np.exp(top) + 1 / sd**2) ** -0.5
    edges = np.concatenate([top - sd * np.array([14, 5, 1]), top + width * np.array([-1, 0, 2, 5, 12])])

    def integral(power: int) -> float:
        def integrand(t: float) -> float:
            return (t - top) ** power * np.exp(exponent(t) - peak)

        return sum(quad(integrand, a, b, epsabs=1e-14, epsrel=1e-11, limit=300)[0] for a, b in pairwise(np.sort(edges)))

    mass, first, second = (integral(power) for power in range(3))
    constant = peak + n * np.log(exposure) - gammaln(n + 1) - np.log(sd) - 0.5 * np.log(2 * np.pi)
    shift = first / mass
    return float(constant + np.log(mass)), top + shift, float(np.sqrt(second / mass - shift**2))


@pytest.mark.parametrize("sd", [0.1, 0.7, 1.2, 2.0, 3.0, 5.0])
def test_the_trapezoid_is_scipys_quadrature(sd: float) -> None:
    n, exposure = (grid.ravel() for grid in np.meshgrid([0.0, 1, 3, 40, 5000], [0.1, 1.0, 300.0]))
    for mu in (-2.0, 3.0):
        expected = np.array([by_quad(*pair, mu, sd) for pair in zip(n, exposure, strict=True)])
        found = np.column_stack(integrate(n, exposure, mu, sd))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_the_mode_is_where_the_slope_is_zero_even_for_huge_counts() -> None:
    n, exposure = np.array([0.0, 1, 1e6, 1e12]), np.array([0.0, 3.0, 2.0, 1e3])
    top = mode(n, exposure, MU, SD)
    slope = n - exposure * np.exp(top) - (top - MU) / SD**2
    assert np.abs(slope / (1 + n)).max() < 1e-10


@pytest.mark.parametrize("at", [[0.0, 0.0], [1.5, -1.5], [-1.0, 0.9]])
def test_gradients_are_those_of_the_likelihoods(at: list[float]) -> None:
    counts = lognormal_world(300, seed=2)[1]
    assert gradient_error(lambda x: mean_likelihood(counts.groups(), x), at) < 1e-7
    y, variance = log_counts(counts)
    assert gradient_error(lambda x: normal_likelihood(y, variance, x), at) < 1e-7


def test_maximum_likelihood_recovers_the_truth_and_logs_of_counts_do_not() -> None:
    """10,000 items of 4.1 events: 4 standard errors; mean and sd of log(n + 1) are off by more than .2."""
    _, counts = lognormal_world(10000, seed=1)
    law = PoissonLogNormal().fit(counts).population.law
    truth = np.array([MU, np.log(SD)])
    errors = standard_errors(lambda at: mean_likelihood(counts.groups(), at), truth, 10000)
    found = np.array([float(law.loc), np.log(float(law.scale))])
    assert np.abs((found - truth) / errors).max() < 4
    naive = np.log(counts.n + 1)
    assert naive.mean() - MU > 0.2
    assert SD - naive.std() > 0.2


def test_maximum_likelihood_is_no_less_likely_than_moments() -> None:
    _, counts = lognormal_world(2000, seed=3)
    mu, sd = log_moments_start(counts)
    moments = mean_likelihood(counts.groups(), np.array([mu, np.log(sd)]))[0]
    assert PoissonLogNormal().fit(counts).log_likelihood >= 2000 * moments


def test_ninety_percent_intervals_cover_ninety_percent() -> None:
    """10,000 items, lognormal intervals by two moments: within 4 standard errors of .003."""
    z, counts = lognormal_world(10000, seed=4)
    law = PoissonLogNormal().fit(counts).items.law
    distance = (np.log(z) - law.loc.numpy()) / law.scale.numpy()
    assert (np.abs(distance) < stats.norm.ppf(0.95)).mean() == pytest.approx(0.9, abs=4 * 0.003)


@pytest.mark.parametrize("rule", [PoissonLogNormal(), NormalLogCounts()])
def test_counts_that_vary_less_than_a_poisson_give_one_popularity(rule: PoissonLogNormal) -> None:
    estimate = rule.fit(Counts(np.array([30, 31, 29, 32]), np.full(4, 10.0)))
    assert estimate.degenerate
    assert isinstance(estimate.items.law, dist.Delta)
    assert float(estimate.population.law.mean) == pytest.approx(3.05, rel=0.02)


@pytest.mark.parametrize("rule", [PoissonLogNormal(), NormalLogCounts(), ShareRule()])
def test_an_item_never_shown_knows_the_population_only(rule: PoissonLogNormal) -> None:
    _, counts = lognormal_world(300, seed=5, exposure=10)
    estimate = rule.fit(Counts(np.append(counts.n, 0), np.append(counts.exposure, 0)))
    law, items = estimate.population.law, estimate.items.law
    if not isinstance(rule, ShareRule):  # whose items all have the same sd, and here the mean of the smoothing Gamma
        assert float(items.loc[-1]) == pytest.approx(float(law.loc), abs=1e-9)
        assert float(items.scale[-1]) == pytest.approx(float(law.scale), rel=1e-9)
    assert bool(torch.isfinite(items.loc).all())


@pytest.mark.parametrize(("rate", "bias"), [(0.5, 0.48), (1.0, 0.17), (2.0, 0.026), (5.0, -0.002)])
def test_logs_of_small_counts_are_biased(rate: float, bias: float) -> None:
    """E log(n + 1/2) - log rate, summed exactly, to the digits of maths 3.3."""
    n = np.arange(200)
    y = log_counts(Counts(n, np.ones(200)))[0]
    assert float(stats.poisson.pmf(n, rate) @ y - np.log(rate)) == pytest.approx(bias, abs=0.006)


@pytest.mark.parametrize(("exposure", "mu", "sd"), [(0.5, 1.57, 0.71), (5.0, 0.92, 1.02), (50.0, 0.70, 1.17)])
def test_the_normal_law_of_log_counts_needs_many_events(exposure: float, mu: float, sd: float) -> None:
    """The three cases of maths 3.3 with mean counts 2, 21 and 202, whose biases are far above their error of .02."""
    _, counts = lognormal_world(10000, seed=6, exposure=exposure)
    estimate = NormalLogCounts().fit(counts)
    law = estimate.population.law
    assert (float(law.loc), float(law.scale)) == (pytest.approx(mu, abs=0.06), pytest.approx(sd, abs=0.06))
    assert bool(estimate.notes) == (counts.n.mean() < 5)
    assert estimate.log_likelihood < PoissonLogNormal().fit(counts).log_likelihood


def test_the_posterior_of_log_counts_adds_precisions() -> None:
    counts = Counts(np.array([7, 40, 300, 90]), np.array([1.0, 2, 3, 4]))
    estimate = NormalLogCounts().fit(counts)
    s, items = float(estimate.population.law.scale), estimate.items.law
    np.testing.assert_allclose(items.scale.numpy() ** -2, s**-2 + counts.n + 0.5, rtol=1e-12)


def test_the_note_as_written_hardly_tells_items_apart() -> None:
    """Maths 1.3, B12: shares 10,000 to 1 became medians 1.108 to 1 and .021 nats; corrected they stay 10,000 to 1."""
    share, sd = torch.tensor([0.1026, 0.1026e-4], dtype=torch.float64), 0.5
    as_written = dist.LogNormal(share, torch.full_like(share, sd))
    assert float((as_written.loc[0] - as_written.loc[1]).exp()) == pytest.approx(1.108, abs=5e-4)
    assert float((as_written.loc[0] - as_written.loc[1]) ** 2 / (2 * sd**2)) == pytest.approx(0.021, abs=5e-4)
    corrected = dist.LogNormal(share_location(share, sd), torch.full_like(share, sd))
    torch.testing.assert_close(corrected.mean, share)
    assert float((corrected.loc[0] - corrected.loc[1]).exp()) == pytest.approx(10000)


def test_shares_are_the_means_of_their_items_and_never_zero() -> None:
    _, counts = lognormal_world(500, seed=8)
    estimate = ShareRule().fit(counts)
    smooth = GammaPoissonML().fit(counts).items.law.mean
    assert (counts.n == 0).any()
    torch.testing.assert_close(estimate.items.law.mean, smooth)
    assert len(estimate.items.law.scale.unique()) == 1
    assert estimate.log_likelihood < PoissonLogNormal().fit(counts).log_likelihood
    law = lognormal_m_step(estimate.items.law.loc, estimate.items.law.scale)
    torch.testing.assert_close(law.loc, estimate.population.law.loc)


def test_one_sd_for_all_items_covers_few_of_the_small_and_all_of_the_large() -> None:
    """90 % intervals: .79 where nothing happened, 1.00 above five events; 4 standard errors of .004."""
    z, counts = gamma_world(30000, seed=5)
    law = ShareRule().fit(counts).items.law
    covered = np.abs(np.log(z) - law.loc.numpy()) < stats.norm.ppf(0.95) * law.scale.numpy()
    assert covered[counts.n == 0].mean() == pytest.approx(0.79, abs=0.016)
    assert covered[counts.n > 5].mean() > 0.99


def test_shares_that_differ_by_chance_only_are_refused() -> None:
    with pytest.raises(InputError, match="by chance"):
        ShareRule().fit(Counts(np.array([3, 4, 5]), np.ones(3)))
