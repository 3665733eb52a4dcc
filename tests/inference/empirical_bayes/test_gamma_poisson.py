"""Gamma-Poisson by moments, by maximum likelihood and zero-truncated."""

from __future__ import annotations

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from eb_worlds import gamma_coverage, gamma_world, gradient_error, standard_errors
from scipy import stats

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes import (
    Counts,
    GammaPoissonML,
    GammaPoissonMoments,
    GammaPoissonTruncated,
    InformativeExposure,
    PoissonLogNormal,
    Rule,
)
from pyrorec.inference.empirical_bayes.conversions import log_moments
from pyrorec.inference.empirical_bayes.gamma_poisson_ml import mean_likelihood
from pyrorec.inference.empirical_bayes.gamma_poisson_moments import moments
from pyrorec.inference.empirical_bayes.gamma_poisson_truncated import truncated_excess, truncated_likelihood
from pyrorec.inference.empirical_bayes.negative_binomial import log_pmf
from pyrorec.models.distributions.prior import Scope

SHAPE, RATE = 0.6, 0.3
TRUTH = np.log([SHAPE, SHAPE / RATE])


@pytest.mark.parametrize("shape", [1e-3, 0.6, 7.0, 1e6])
def test_the_marginal_is_the_negative_binomial(shape: float) -> None:
    n, mean = np.array([0.0, 1, 2, 7, 300]), np.array([0.3, 0.3, 4, 9, 200])
    expected = stats.nbinom.logpmf(n, shape, shape / (shape + mean))
    np.testing.assert_allclose(log_pmf(n, mean, shape), expected, rtol=1e-9)


def test_a_large_shape_is_a_poisson_without_cancellation() -> None:
    n, mean = np.arange(30.0), np.full(30, 8.0)
    np.testing.assert_allclose(log_pmf(n, mean, 1e13), stats.poisson.logpmf(n, mean), rtol=1e-11)
    np.testing.assert_allclose(log_pmf(n, mean, math.inf), stats.poisson.logpmf(n, mean), rtol=1e-13)


@pytest.mark.parametrize("items", [300, 3000, 30000])
def test_maximum_likelihood_recovers_the_truth(items: int) -> None:
    """Within 4 standard errors by the likelihood's curvature."""
    _, counts = gamma_world(items, seed=items)
    law = GammaPoissonML().fit(counts).population.law
    found = np.log([float(law.concentration), float(law.mean)])
    errors = standard_errors(lambda at: mean_likelihood(counts.groups(), at), TRUTH, items)
    assert np.abs((found - TRUTH) / errors).max() < 4
    by_moments = GammaPoissonMoments().fit(counts).population.law
    rough = np.log([float(by_moments.concentration), float(by_moments.mean)])
    assert np.abs((rough - TRUTH) / errors).max() < 8  # less precise, by a factor below 2


@pytest.mark.parametrize("at", [[-1.0, 0.3], [0.5, 1.5], [6.0, 0.7]])
def test_gradients_are_those_of_the_likelihoods(at: list[float]) -> None:
    groups = gamma_world(200, seed=3)[1].groups()
    assert gradient_error(lambda x: mean_likelihood(groups, x), at) < 1e-7
    seen = Counts(groups.n[groups.n > 0], groups.exposure[groups.n > 0]).groups()
    assert gradient_error(lambda x: truncated_likelihood(seen, x), at) < 1e-7


@pytest.mark.parametrize("seed", range(5))
def test_maximum_likelihood_is_no_less_likely_than_moments(seed: int) -> None:
    _, counts = gamma_world(200, seed)
    by_moments, by_likelihood = (rule.fit(counts) for rule in (GammaPoissonMoments(), GammaPoissonML()))
    assert by_likelihood.log_likelihood >= by_moments.log_likelihood
    assert by_likelihood.log_likelihood - by_moments.log_likelihood < 5


def test_the_moments_variance_is_unbiased_for_any_exposures() -> None:
    """Mean over 3,000 logs of 20 items with exposures from .2 to 8, within 4 standard errors; known variance .4."""
    rng = np.random.default_rng(11)
    exposure = np.geomspace(0.2, 8, 20)
    logs = rng.poisson(exposure * rng.gamma(1.6, 0.5, (3000, 20)))
    found = np.array([moments(Counts(n, exposure))[1] for n in logs])
    assert abs(found.mean() - 0.4) < 4 * found.std() / len(found) ** 0.5


def test_ninety_percent_intervals_cover_ninety_percent() -> None:
    """30,000 items: within 4 standard errors of .0017."""
    z, counts = gamma_world(30000, seed=5)
    law = GammaPoissonML().fit(counts).items.law
    covered = gamma_coverage(z, law.concentration.numpy(), law.rate.numpy())
    assert covered == pytest.approx(0.9, abs=4 * 0.0017)


def test_priors_have_their_scope_and_the_posterior_its_conjugate_form() -> None:
    counts = Counts(np.array([0, 3, 9, 1]), np.array([1.0, 2, 3, 0.5]))
    estimate = GammaPoissonML().fit(counts)
    law, items = estimate.population.law, estimate.items.law
    assert (estimate.population.scope, estimate.items.scope) == (Scope.POPULATION, Scope.ITEM)
    torch.testing.assert_close(items.concentration, law.concentration + torch.from_numpy(counts.n))
    torch.testing.assert_close(items.rate, law.rate + torch.from_numpy(counts.exposure))


def test_an_item_never_shown_has_the_populations_law_and_changes_nothing() -> None:
    _, counts = gamma_world(200, seed=1)
    more = Counts(np.append(counts.n, 0), np.append(counts.exposure, 0))
    for rule in (GammaPoissonML(), GammaPoissonMoments()):
        estimate = rule.fit(more)
        assert float(estimate.items.law.rate[-1]) == pytest.approx(float(estimate.population.law.rate), rel=1e-12)
        assert estimate.log_likelihood == pytest.approx(rule.fit(counts).log_likelihood, rel=1e-12)


@pytest.mark.parametrize("rule", [GammaPoissonML(), GammaPoissonMoments()])
def test_counts_that_vary_less_than_a_poisson_give_one_popularity(rule: GammaPoissonML) -> None:
    estimate = rule.fit(Counts(np.array([3, 4, 4, 5]), np.full(4, 2.0)))
    assert estimate.degenerate
    assert isinstance(estimate.items.law, dist.Delta)
    assert float(estimate.population.law.mean) == 2.0
    assert estimate.log_likelihood == pytest.approx(stats.poisson.logpmf([3, 4, 4, 5], 4.0).sum())
    with pytest.raises(InputError, match="leave popularity out"):
        estimate.standardised()


def test_the_condition_of_levin_and_reeds_decides() -> None:
    """Equal exposures: finite shape exactly where the mean square deviation exceeds the mean, on either side of it."""
    below, above = np.array([0, 2, 4, 2, 2]), np.array([0, 1, 6, 2, 1])  # 1.6 and 4.4 against a mean of 2
    assert GammaPoissonML().fit(Counts(below, np.ones(5))).degenerate
    assert not GammaPoissonML().fit(Counts(above, np.ones(5))).degenerate


@pytest.mark.parametrize("rule", [GammaPoissonML(), GammaPoissonTruncated(), PoissonLogNormal(), InformativeExposure()])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_counts_in_the_millions_and_odd_units_are_no_trouble(rule: Rule, scale: float) -> None:
    """The unit of exposure changes neither the likelihood nor, in its own unit, the population."""
    rng = np.random.default_rng(52)
    z, exposure = rng.lognormal(0, 1.5, 500), 19561 * (rng.gamma(0.5, 1.0, 500) + 1e-3)
    n = 1.0 + rng.poisson(exposure * z)
    estimate, same = rule.fit(Counts(n, exposure)), rule.fit(Counts(n, exposure * scale))
    assert estimate.log_likelihood == pytest.approx(same.log_likelihood, abs=1e-3)
    (mean, sd), (other, again) = (log_moments(one.population.law) for one in (estimate, same))
    assert float(other) == pytest.approx(float(mean) - math.log(scale), abs=1e-4)
    assert float(again) == pytest.approx(float(sd), abs=1e-4)


def seen_world(items: int, seed: int) -> tuple[Counts, int]:
    """Counts of the items with an event, and how many have none."""
    n = np.random.default_rng(seed).negative_binomial(SHAPE, RATE / (1 + RATE), items)
    return Counts(n[n > 0], np.ones((n > 0).sum())), int((n == 0).sum())


def test_items_absent_from_the_log_call_for_truncation() -> None:
    """Naive (2.74, .80) as in maths 3.1; truncated within 4 standard errors, and the number unseen within 10 %."""
    counts, unseen = seen_world(30000, seed=7)
    naive, truncated = (rule.fit(counts) for rule in (GammaPoissonML(), GammaPoissonTruncated()))
    law = truncated.population.law
    errors = standard_errors(lambda at: truncated_likelihood(counts.groups(), at), TRUTH, len(counts))
    assert np.abs((np.log([float(law.concentration), float(law.mean)]) - TRUTH) / errors).max() < 4
    assert float(naive.population.law.concentration) == pytest.approx(2.74, abs=0.1)
    assert float(naive.population.law.rate) == pytest.approx(0.80, abs=0.03)
    (note,) = truncated.notes
    assert int(note.split()[1]) == pytest.approx(unseen, rel=0.1)


def test_truncated_counts_of_one_popularity_are_degenerate() -> None:
    """A truncated Poisson of mean 1, and counts that vary less than any."""
    n = np.random.default_rng(0).poisson(1.0, 400)
    estimate = GammaPoissonTruncated().fit(Counts(n[n > 0], np.ones((n > 0).sum())))
    law = estimate.population.law
    assert float(law.mean) == pytest.approx(1.0, abs=0.25)
    flat = Counts(np.array([2, 2, 2, 3]), np.ones(4))
    assert GammaPoissonTruncated().fit(flat).degenerate


def test_a_log_series_does_not_tell_how_many_were_never_seen() -> None:
    n = stats.logser.rvs(0.97, size=3000, random_state=np.random.default_rng(2))
    estimate = GammaPoissonTruncated().fit(Counts(n, np.ones(3000)))
    assert float(estimate.population.law.concentration) < 0.05
    assert "do not tell" in estimate.notes[0]


def test_the_slope_at_the_truncated_poisson_is_that_of_the_likelihood() -> None:
    groups = Counts(np.array([1, 1, 2, 5, 3]), np.array([1.0, 2, 1, 3, 0.5])).groups()
    mean, shape = 0.8, 1e4
    near, nearer = (truncated_likelihood(groups, np.log([a, mean]))[0] for a in (shape, 100 * shape))
    slope = 5 * (near - nearer) / (1 / shape - 1 / (100 * shape))
    assert slope == pytest.approx(truncated_excess(groups, mean * groups.exposure) / 2, rel=1e-3)


@pytest.mark.parametrize(("n", "sentence"), [([0, 1, 3], "GammaPoissonML"), ([1, 1, 1], "exactly one event")])
def test_truncation_refuses_counts_it_cannot_serve(n: list[int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        GammaPoissonTruncated().fit(Counts(np.array(n), np.ones(3)))
