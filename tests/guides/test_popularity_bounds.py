"""Estimators of one bound agree, their gradients differ in variance only, and conjugacy is recovered to the digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from conftest import Popular
from scipy import special

from pyrorec.inference.elbo import AnalyticELBO, ExpectedELBO, MonteCarloELBO
from pyrorec.inference.objective import MonteCarlo, ScoreFunction
from pyrorec.models.affinities import Dot, FactorisationMachine, Linear
from pyrorec.models.distributions import Exponential, LogNormal
from pyrorec.models.distributions.divergence import closed_form_kl
from pyrorec.models.families import Bernoulli, Cloglog, Gaussian, Poisson, Probit
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import GammaPosterior, LogNormalPosterior, WeibullPosterior
from pyrorec.models.predictors import Additive, LogAdditive, Odds, Plain, ProductRatio, ProductSaturation, ProductTanh
from pyrorec.models.sharing import PerInteraction, PerPeriod

Build = Callable[..., Popular]
LINEAR, MACHINE = Linear(), FactorisationMachine(factors=2)
SPECS = {
    "additive-bernoulli, linear": PopularityModel(LINEAR, Bernoulli(), Additive()),
    "additive-probit, machine, amortised": PopularityModel(MACHINE, Probit(), Additive(), amortised=True),
    "additive-gaussian, per period": PopularityModel(LINEAR, Gaussian(), Additive(), sharing=PerPeriod()),
    "frailty-poisson, machine": PopularityModel(MACHINE, Poisson(), LogAdditive()),
    "frailty-cloglog, lognormal, amortised": PopularityModel(
        LINEAR, Cloglog(), LogAdditive(), Exponential(), LogNormalPosterior(), amortised=True
    ),
    "odds, weibull": PopularityModel(LINEAR, Bernoulli(), Odds(), posterior=WeibullPosterior()),
    "product-ratio, lognormal, dot": PopularityModel(
        Dot(factors=2), Bernoulli(), ProductRatio(), LogNormal(), LogNormalPosterior()
    ),
    "product-saturation, gamma, per interaction": PopularityModel(
        LINEAR, Bernoulli(), ProductSaturation(), sharing=PerInteraction()
    ),
    "product-tanh, weibull, machine, amortised": PopularityModel(
        MACHINE, Bernoulli(), ProductTanh(), posterior=WeibullPosterior(), amortised=True
    ),
    "plain, machine": PopularityModel(MACHINE, Bernoulli(), Plain()),
}
EVALUATIONS = 36
ESTIMATORS = {"expected": ExpectedELBO, "analytic": AnalyticELBO, "monte carlo": MonteCarloELBO}


def losses(fit: Popular, estimator: Any, evaluations: int) -> np.ndarray:
    torch.manual_seed(7)
    batch = fit.batch()
    with torch.no_grad():
        return np.array([estimator().loss(fit.model, fit.q, batch) for _ in range(evaluations)])


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_three_estimators_estimate_one_bound(popular: Build, spec: PopularityModel) -> None:
    fit = popular(spec, records=10)
    found = {name: losses(fit, kind, EVALUATIONS) for name, kind in ESTIMATORS.items()}
    mean = {name: x.mean() for name, x in found.items()}
    error = {name: x.std() / EVALUATIONS**0.5 for name, x in found.items()}
    for other in ("analytic", "monte carlo"):
        allowed = 4 * np.hypot(error["expected"], error[other])
        assert mean["expected"] == pytest.approx(mean[other], abs=allowed)
    assert error["expected"] < 1.001 * error["analytic"]
    assert error["expected"] < 0.05 * abs(mean["expected"])  # or agreement would say little


JOINT = {
    "additive": PopularityModel(LINEAR, Bernoulli(), Additive()),
    "frailty": PopularityModel(LINEAR, Poisson(), LogAdditive(), posterior=WeibullPosterior()),
    "odds": PopularityModel(LINEAR, Bernoulli(), Odds(), LogNormal()),
}


@pytest.mark.parametrize("spec", JOINT.values(), ids=JOINT)
def test_nothing_is_sampled_where_affinity_is_integrated(popular: Build, spec: PopularityModel) -> None:
    found = losses(popular(spec), ExpectedELBO, 3)
    np.testing.assert_allclose(found, found[0], rtol=1e-14)


def gradients(popular: Build, spec: PopularityModel, objective: Any, evaluations: int) -> np.ndarray:
    """Draws of the gradient of the loss by q's popularity, (evaluations, numbers)."""
    fit = popular(spec, records=10, drawn=objective.drawn)
    parameters = list(fit.guide.popularity.parameters())
    estimator = objective.loss() if isinstance(objective, MonteCarlo) else ExpectedELBO()
    torch.manual_seed(7)
    batch = fit.batch()
    rows = []
    for _ in range(evaluations):
        loss = estimator.differentiable_loss(fit.model, fit.q, batch)
        rows.append(torch.cat([g.ravel() for g in torch.autograd.grad(loss, parameters)]).numpy())
    return np.stack(rows)


class Expected:
    """The estimator without draws of popularity, in the place of an objective."""

    @staticmethod
    def drawn(law: Any) -> Any:
        return law


VARIANCES = {
    **JOINT,
    "product-ratio": PopularityModel(LINEAR, Bernoulli(), ProductRatio(), posterior=WeibullPosterior()),
    "frailty-cloglog": PopularityModel(LINEAR, Cloglog(), LogAdditive(), posterior=GammaPosterior()),
}


@pytest.mark.parametrize("spec", VARIANCES.values(), ids=VARIANCES)
def test_the_less_is_sampled_the_less_a_gradient_varies(popular: Build, spec: PopularityModel) -> None:
    """Without draws, by reparameterised draws, by the score function (maths 1.3, B30): one mean, growing variance."""
    exact, drawn, score = (
        gradients(popular, spec, objective, n)
        for objective, n in ((Expected, 16), (MonteCarlo(), 36), (ScoreFunction(), 72))
    )
    spread = [x.var(0).sum() for x in (exact, drawn, score)]
    assert spread[0] < 0.5 * spread[1]
    assert spread[1] < 0.5 * spread[2]
    for x in (drawn, score):
        error = np.sqrt(x.var(0) / len(x) + exact.var(0) / len(exact))
        assert (np.abs(x.mean(0) - exact.mean(0)) < 4.5 * error + 1e-12).all()


def test_the_known_limit_of_nothing_sampled(popular: Build) -> None:
    """Where linear weights are integrated the gradient is one number each."""
    for spec in JOINT.values():
        assert gradients(popular, spec, Expected, 4).std(0).max() < 1e-12


CONJUGATE = PopularityModel(LINEAR, Poisson(), LogAdditive(), posterior=GammaPosterior())


def conjugate(fit: Popular) -> tuple[np.ndarray, np.ndarray, float, dict[str, Any]]:
    """Shape and rate of the exact posterior at known weights, the log evidence, and those weights as point laws."""
    torch.manual_seed(2)
    values = {site: law.sample() for site, law in fit.guide.laws().items()}
    points = {site: dist.Delta(value) for site, value in values.items()}
    records = fit.records
    a = fit.model.affinity(values, fit.batch()).detach().numpy()
    alpha = float(fit.model.parts["popularity"].fixed().shape)
    k, rate, item = records.value.numpy(), records.trials.numpy() * np.exp(a), records.item.numpy()
    shape = alpha + np.bincount(item, k)
    total = alpha + np.bincount(item, rate)
    evidence = (special.gammaln(shape) - special.gammaln(alpha) + alpha * np.log(alpha) - shape * np.log(total)).sum()
    evidence += (k * np.log(rate) - special.gammaln(k + 1)).sum()
    return shape, total, float(evidence), points


def bound_at(fit: Popular, points: dict[str, Any], location: torch.Tensor, log_spread: torch.Tensor) -> torch.Tensor:
    """E_q log p(records) - KL(q || p) at known weights."""
    q = GammaPosterior().law(location, log_spread)
    values = {site: point.v for site, point in points.items()}
    each = fit.model.expected(fit.batch(), points | {"popularity": q}, values)
    prior = fit.model.popularity_prior(torch.arange(fit.model.groups))
    total: torch.Tensor = each.sum() - closed_form_kl(q, prior).sum()
    return total


def numbers(shape: np.ndarray, rate: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Location and log spread of Gamma(shape, rate)."""
    return torch.as_tensor(np.log(shape / rate)), torch.as_tensor(-0.5 * np.log(shape))


def test_the_bound_of_a_frailty_is_its_evidence_at_the_conjugate_posterior(popular: Build) -> None:
    """q* = Gamma(alpha + sum k, alpha + sum e^a) (maths 5): bound = log evidence - KL(q || q*) for any q."""
    fit = popular(CONJUGATE, records=30)
    shape, rate, evidence, points = conjugate(fit)
    location, log_spread = (x.requires_grad_() for x in numbers(shape, rate))
    best = bound_at(fit, points, location, log_spread)
    assert float(best.detach()) == pytest.approx(evidence, rel=0, abs=1e-8)
    for slope in torch.autograd.grad(best, [location, log_spread]):
        assert float(slope.abs().max()) < 1e-8
    exact = dist.Gamma(torch.as_tensor(shape), torch.as_tensor(rate))
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        other = [x.detach() + 0.4 * torch.randn(len(shape), generator=g).double() for x in (location, log_spread)]
        q = GammaPosterior().law(*other)
        gap = float(closed_form_kl(q, exact).sum())
        assert gap > 0.01
        bound = float(bound_at(fit, points, *other).detach())
        assert bound + gap == pytest.approx(evidence, rel=0, abs=1e-8)


def test_climbing_the_bound_finds_the_conjugate_posterior(popular: Build) -> None:
    fit = popular(CONJUGATE, records=30)
    shape, rate, evidence, points = conjugate(fit)
    location, log_spread = torch.zeros(5).double().requires_grad_(), torch.zeros(5).double().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [location, log_spread], max_iter=60, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = -bound_at(fit, points, location, log_spread)
        loss.backward(inputs=[location, log_spread])
        return loss

    optimiser.step(closure)
    q = GammaPosterior().law(location.detach(), log_spread.detach())
    np.testing.assert_allclose(q.concentration, shape, rtol=1e-6)
    np.testing.assert_allclose(q.rate, rate, rtol=1e-6)
    assert float(bound_at(fit, points, location, log_spread).detach()) == pytest.approx(evidence, rel=0, abs=1e-8)


def test_the_whole_objective_reaches_the_evidence(popular: Build) -> None:
    """Without weights the model is its frailties: at q* the loss is minus the log evidence of negative binomials."""
    fit = popular(replace(CONJUGATE, affinity=Dot(factors=0)), records=30, columns=(0, 0))
    fit.records.weight.fill_(1.0)
    shape, rate, evidence, points = conjugate(fit)
    assert points == {}
    q: Any = fit.guide.popularity["q"]
    with torch.no_grad():
        for parameter, number in zip((q.location, q.log_spread), numbers(shape, rate), strict=True):
            parameter.copy_(number)
    loss = ExpectedELBO().differentiable_loss(fit.model, fit.q, fit.batch())
    assert float(loss.detach()) == pytest.approx(-evidence, rel=0, abs=1e-8)
    for slope in torch.autograd.grad(loss, [q.location, q.log_spread]):
        assert float(slope.abs().max()) < 1e-8
    np.testing.assert_allclose(
        losses(fit, MonteCarloELBO, 5), -evidence, rtol=0, atol=1e-8
    )  # log p - log q is constant


def test_an_average_of_batches_is_the_bound(popular: Build) -> None:
    """Every estimator term by term over a partition: likelihood in proportion, divergences as they are."""
    fit = popular(JOINT["frailty"])
    whole = float(losses(fit, ExpectedELBO, 1)[0])
    with torch.no_grad():
        parts = [ExpectedELBO().loss(fit.model, fit.q, fit.batch(list(range(start, 24, 3)))) for start in range(3)]
    assert np.mean(parts) == pytest.approx(whole, rel=1e-11)
