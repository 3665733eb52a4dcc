"""The closed step for learned priors, and priors on the scales of the models."""

from __future__ import annotations

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from eb_worlds import gamma_world, lognormal_world
from scipy.integrate import quad

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes import (
    BetaBinomial,
    Counts,
    Estimate,
    GammaPoissonML,
    GammaPoissonMoments,
    PoissonLogNormal,
    gamma_m_step,
    lognormal_m_step,
)
from pyrorec.inference.empirical_bayes.conversions import divided, log_moments
from pyrorec.inference.empirical_bayes.lognormal_population import integrate
from pyrorec.inference.empirical_bayes.negative_binomial import GammaPopulation
from pyrorec.models.distributions.prior import Scope


def em_step(population: dist.Gamma, counts: Counts) -> dist.Gamma:
    """One step of EM: exact posteriors, then the population nearest to them."""
    posterior = GammaPopulation(float(population.mean), float(population.concentration)).items(counts)
    return gamma_m_step(posterior.mean, log_moments(posterior)[0])


def test_the_step_stays_at_the_maximum_of_the_likelihood() -> None:
    """To 6 digits, as in maths 3.6."""
    _, counts = gamma_world(3000, seed=1)
    law = GammaPoissonML().fit(counts).population.law
    again = em_step(law, counts)
    torch.testing.assert_close(again.concentration, law.concentration, rtol=1e-6, atol=0)
    torch.testing.assert_close(again.rate, law.rate, rtol=1e-6, atol=0)


def test_each_step_raises_the_likelihood() -> None:
    _, counts = gamma_world(300, seed=2)
    law = GammaPoissonMoments().fit(counts).population.law
    values = []
    for _ in range(6):
        law = em_step(law, counts)
        values.append(GammaPopulation(float(law.mean), float(law.concentration)).log_marginal(counts).sum())
    assert (np.diff(values) > 0).all()
    assert values[-1] < GammaPoissonML().fit(counts).log_likelihood


def test_the_lognormal_step_stays_at_the_maximum_of_the_likelihood() -> None:
    _, counts = lognormal_world(3000, seed=1)
    law = PoissonLogNormal().fit(counts).population.law
    groups = counts.groups()
    found = integrate(groups.n, groups.exposure, float(law.loc), float(law.scale))
    again = lognormal_m_step(torch.from_numpy(found.mean[groups.group]), torch.from_numpy(found.sd[groups.group]))
    torch.testing.assert_close(again.loc, law.loc, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(again.scale, law.scale, rtol=1e-6, atol=0)


def test_impossible_moments_are_refused() -> None:
    one, two = torch.ones(1), torch.ones(2)
    for first, second in ((two, one), (torch.ones(0), torch.ones(0)), (torch.ones(2, 2), torch.ones(2, 2))):
        with pytest.raises(InputError, match="two moments an item"):
            gamma_m_step(first, second)
    with pytest.raises(InputError, match="no larger than"):
        gamma_m_step(two, two)
    with pytest.raises(InputError, match="no lognormal"):
        lognormal_m_step(two, torch.zeros(2))


@pytest.mark.parametrize(
    "law",
    [
        dist.Gamma(torch.tensor(0.6).double(), torch.tensor(0.3).double()),
        dist.LogNormal(torch.tensor(0.7).double(), torch.tensor(1.2).double()),
        dist.Beta(torch.tensor(1.5).double(), torch.tensor(20.0).double()),
    ],
)
def test_moments_of_log_popularity_are_integrals(law: dist.TorchDistribution) -> None:
    def moment(power: int) -> float:
        def integrand(t: float) -> float:
            z = torch.tensor(math.exp(t), dtype=torch.float64)
            return t**power * math.exp(float(law.log_prob(z)) + t)

        upper = 0.0 if isinstance(law, dist.Beta) else 12.0
        return quad(integrand, -40, min(upper, 12.0) - 1e-12, epsrel=1e-10, limit=400)[0]

    mean, sd = (float(one) for one in log_moments(law))
    assert mean == pytest.approx(moment(1), rel=1e-6)
    assert sd == pytest.approx(math.sqrt(moment(2) - moment(1) ** 2), rel=1e-6)


@pytest.mark.parametrize("rule", [GammaPoissonML(), PoissonLogNormal(), BetaBinomial()])
def test_models_are_given_a_population_of_mean_one(rule: GammaPoissonML) -> None:
    rng = np.random.default_rng(1)
    exposure = rng.integers(30, 60, 400)
    estimate = rule.fit(Counts(rng.binomial(exposure, rng.beta(1.5, 8, 400)), exposure))
    rates = estimate.rate()
    assert (rates.population.scope, rates.items.scope) == (Scope.POPULATION, Scope.ITEM)
    assert float(rates.population.law.mean) == pytest.approx(1, abs=1e-12)
    assert math.exp(rates.log_mean) == pytest.approx(float(estimate.population.law.mean))
    torch.testing.assert_close(rates.items.law.mean * math.exp(rates.log_mean), estimate.items.law.mean)
    before, after = (log_moments(prior.law) for prior in (estimate.items, rates.items))
    torch.testing.assert_close(after[0] + rates.log_mean, before[0])


def test_standardised_priors_have_the_populations_location_and_scale() -> None:
    """Maths 3.8; averaged over items, posterior means and variances of zeta make up 0 and 1 (law of total variance)."""
    _, counts = gamma_world(30000, seed=2)
    estimate = GammaPoissonML().fit(counts)
    found = estimate.standardised()
    law, items = estimate.population.law, found.items.law
    assert found.location == pytest.approx(float(torch.digamma(law.concentration) - law.rate.log()))
    assert found.scale == pytest.approx(float(torch.polygamma(1, law.concentration).sqrt()))
    assert (float(found.population.law.loc), float(found.population.law.scale)) == (0, 1)
    # 4 standard errors of 30,000 items.
    assert float(items.loc.mean()) == pytest.approx(0, abs=0.024)
    assert float(items.loc.var() + (items.scale**2).mean()) == pytest.approx(1, abs=0.05)


def test_the_lognormals_standard_scale_is_exact() -> None:
    estimate = PoissonLogNormal().fit(lognormal_world(500, seed=3)[1])
    found, items = estimate.standardised(), estimate.items.law
    torch.testing.assert_close(found.items.law.loc * found.scale + found.location, items.loc)
    torch.testing.assert_close(found.items.law.scale * found.scale, items.scale)


def test_one_popularity_for_all_is_one_in_units_of_itself() -> None:
    estimate = GammaPoissonML().fit(Counts(np.array([3, 4, 4, 5]), np.full(4, 2.0)))
    rates = estimate.rate()
    assert rates.items.law.mean.tolist() == [1.0] * 4
    assert rates.log_mean == pytest.approx(math.log(2))


def test_laws_without_a_conversion_are_named() -> None:
    law = dist.Weibull(torch.tensor(1.0), torch.tensor(1.0))
    with pytest.raises(TypeError, match="Weibull"):
        log_moments(law)
    with pytest.raises(TypeError, match="Weibull"):
        divided(law, 2.0)


def test_an_estimate_without_source_uses_nothing_known() -> None:
    estimate: Estimate = GammaPoissonML().fit(gamma_world(50, seed=1)[1])
    assert estimate.uses is None
