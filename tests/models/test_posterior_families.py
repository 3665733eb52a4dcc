"""Variational families of popularity, and laws with their parameters changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from pyrorec.models import laws
from pyrorec.models.distributions import PopularityDistribution, Scale
from pyrorec.models.distributions.divergence import closed_form_kl
from pyrorec.models.distributions.inverse_gaussian import InverseGaussian
from pyrorec.models.laws import mapped, parameters, resembling, single
from pyrorec.models.moments import mean_log, variance_log
from pyrorec.models.posterior_families import PosteriorFamily, default_posterior


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


every_posterior = pytest.mark.parametrize("cls", list(PosteriorFamily.registry), ids=lambda c: c.name)
LOCATION, LOG_SPREAD = f64([-1.2, 0.4, 2.0]), f64([-1.5, -0.3, 0.4])
RATE_LAWS: list[Any] = [
    dist.Gamma(f64([0.4, 3.0]), f64([1.5, 0.7])),
    dist.Exponential(f64([0.4, 3.0])),
    dist.LogNormal(f64([-0.4, 0.3]), f64([0.3, 1.2])),
    dist.Weibull(f64([0.4, 2.0]), f64([0.8, 2.5])),
    InverseGaussian(f64([0.4, 2.0]), f64([0.8, 2.5])),
]
EVERY_LAW = [*RATE_LAWS, dist.Normal(f64([-0.4, 0.3]), f64([0.3, 1.2])), dist.Delta(f64([0.2, 2.0]))]


def name_of(law: Any) -> str:
    return type(law).__name__


def log_moments(law: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and sd of log z, of zeta itself for a Normal."""
    if isinstance(law, dist.Normal):
        return law.mean, law.stddev
    return mean_log(law), variance_log(law).sqrt()


@every_posterior
def test_a_small_spread_is_the_sd_of_log_popularity(cls: type[PosteriorFamily]) -> None:
    """Location is log of a typical z, and for a small spread e^s the sd of log z is e^s; exactly, or nearly."""
    for s in (-3.0, -5.0):
        spread = np.exp(s)
        location, sd = log_moments(cls.example().law(LOCATION, torch.full_like(LOCATION, s)))
        np.testing.assert_allclose(sd, spread, rtol=spread**2)
        np.testing.assert_allclose(location, LOCATION, atol=0.6 * spread)


@every_posterior
def test_spread_widens_and_location_shifts(cls: type[PosteriorFamily]) -> None:
    """Moving the location moves log z by as much and leaves its spread."""
    family = cls.example()
    law, moved = family.law(LOCATION, LOG_SPREAD), family.law(LOCATION + 0.7, LOG_SPREAD)
    assert (law.batch_shape, law.event_shape) == ((3,), ())
    (m, s), (m_moved, s_moved) = log_moments(law), log_moments(moved)
    torch.testing.assert_close(m_moved, m + 0.7, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(s_moved, s, rtol=1e-10, atol=0)
    assert (log_moments(family.law(LOCATION, LOG_SPREAD + 0.3))[1] > s).all()
    draws = law.sample((2000,))
    assert bool((draws > 0).all()) == (cls.scale is Scale.RATE)


REFERENCE = {
    "normal": lambda m, s: stats.norm(m, np.exp(s)),
    "lognormal": lambda m, s: stats.lognorm(np.exp(s), scale=np.exp(m)),
    "gamma": lambda m, s: stats.gamma(np.exp(-2 * s), scale=np.exp(m + 2 * s)),
    "inverse-gaussian": lambda m, s: stats.invgauss(np.exp(2 * s), scale=np.exp(m - 2 * s)),
    "weibull": lambda m, s: stats.weibull_min(np.pi / np.sqrt(6) * np.exp(-s), scale=np.exp(m)),
}


@every_posterior
def test_laws_are_what_they_say(cls: type[PosteriorFamily]) -> None:
    law = cls.example().law(LOCATION, LOG_SPREAD)
    reference = REFERENCE[cls.name](LOCATION.numpy(), LOG_SPREAD.numpy())
    at = law.sample((5,))
    np.testing.assert_allclose(law.log_prob(at), reference.logpdf(at.numpy()), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(law.mean, reference.mean(), rtol=1e-9)
    np.testing.assert_allclose(law.variance, reference.var(), rtol=1e-7)


@every_posterior
def test_draws_carry_the_gradient_of_both_numbers(cls: type[PosteriorFamily]) -> None:
    location, log_spread = LOCATION.clone().requires_grad_(), LOG_SPREAD.clone().requires_grad_()
    law = cls.example().law(location, log_spread)
    if not law.has_rsample:
        assert cls.name == "inverse-gaussian"  # trained by objectives that do not draw popularity
        return
    draws = law.rsample((7,))
    slopes = torch.autograd.grad(draws.sum(), [location, log_spread])
    assert all(bool((slope.isfinite() & (slope != 0)).all()) for slope in slopes)


@pytest.mark.parametrize("prior", list(PopularityDistribution.registry), ids=lambda c: c.name)
def test_every_prior_has_a_default_posterior_with_a_finite_divergence(prior: type[PopularityDistribution]) -> None:
    posterior = default_posterior(prior.example())
    expected = {"exponential": "gamma"}.get(prior.name, prior.name)
    assert posterior.name == expected
    assert posterior.scale is prior.scale
    kl = closed_form_kl(posterior.law(LOCATION, LOG_SPREAD), prior.example().population(like=LOCATION))
    assert (kl > 0).all()
    assert bool(kl.isfinite().all())


@pytest.mark.parametrize("law", EVERY_LAW, ids=name_of)
def test_parameters_rebuild_the_law(law: Any) -> None:
    """In the order of the constructor."""
    again = type(law)(*parameters(law))
    at = law.sample()
    torch.testing.assert_close(again.log_prob(at), law.log_prob(at), rtol=0, atol=0)
    assert type(law) in laws.PARAMETERS


def test_every_known_law_is_tested() -> None:
    assert {type(law) for law in EVERY_LAW} == set(laws.PARAMETERS)
    with pytest.raises(TypeError, match="Cauchy is no law of popularity; there are Gamma"):
        parameters(dist.Cauchy(f64(1.0), f64(1.0)))


@pytest.mark.parametrize("law", EVERY_LAW, ids=name_of)
def test_mapping_changes_every_parameter(law: Any) -> None:
    index = torch.tensor([1, 1, 0])
    picked = mapped(law, lambda parameter: parameter[index])
    assert type(picked) is type(law)
    assert picked.batch_shape == (3,)
    for old, new in zip(parameters(law), parameters(picked), strict=True):
        assert torch.equal(new, old[index])
    assert mapped(None, torch.clone) is None


@pytest.mark.parametrize("law", RATE_LAWS, ids=name_of)
def test_resembling_keeps_the_moments_it_promises(law: Any) -> None:
    gamma = resembling(dist.Gamma, law)
    torch.testing.assert_close(gamma.mean, law.mean, rtol=1e-9, atol=0)
    torch.testing.assert_close(mean_log(gamma), mean_log(law), rtol=1e-8, atol=1e-10)
    for kind in (dist.LogNormal, dist.Weibull):
        near: Any = resembling(kind, law)
        assert type(near) is kind
        torch.testing.assert_close(mean_log(near), mean_log(law), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(variance_log(near), variance_log(law), rtol=1e-8, atol=0)
    assert resembling(type(law), law) is law


def test_resembling_recovers_a_law_from_its_moments() -> None:
    """An Exponential is a Gamma of shape one, and a Weibull of shape one."""
    exponential = dist.Exponential(f64([0.4, 3.0]))
    gamma: Any = resembling(dist.Gamma, exponential)
    torch.testing.assert_close(gamma.concentration, f64([1.0, 1.0]), rtol=1e-9, atol=0)
    weibull: Any = resembling(dist.Weibull, exponential)
    torch.testing.assert_close(weibull.concentration, f64([1.0, 1.0]), rtol=1e-9, atol=0)
    torch.testing.assert_close(weibull.scale, 1 / f64([0.4, 3.0]), rtol=1e-9, atol=0)
    for kind in (dist.Normal, dist.Exponential):
        with pytest.raises(TypeError, match=f"no {kind.__name__} resembles Gamma"):
            resembling(kind, RATE_LAWS[0])


def test_a_block_of_weights_is_unwrapped() -> None:
    law = dist.Normal(torch.zeros(3), torch.ones(3))
    assert type(single(law.to_event(1))) is dist.Normal
    assert single(law.to_event(1)).batch_shape == (3,)
    assert single(law) is law
