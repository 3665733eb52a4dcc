"""What the likelihood leaves to the priors is set where the bound is highest along its orbit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from conftest import ITEMS, Popular

from pyrorec.guides.popularity_anchor import anchor_effects, anchor_popularity
from pyrorec.inference.elbo import ExpectedELBO
from pyrorec.models.affinities import Linear
from pyrorec.models.distributions import LogNormal, Prior, Scope
from pyrorec.models.families import Bernoulli, Cloglog, Poisson
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import WeibullPosterior
from pyrorec.models.predictors import Additive, LogAdditive, Odds, ProductRatio, ProductSaturation, ProductTanh
from pyrorec.models.prior_source import ExposureCounts

Build = Callable[..., Popular]
SPECS = {
    "zeta": PopularityModel(Linear(), Bernoulli(), Additive()),
    "gamma": PopularityModel(Linear(), Poisson(), LogAdditive()),
    "lognormal": PopularityModel(Linear(), Cloglog(), LogAdditive(), LogNormal()),
    "weibull posterior": PopularityModel(Linear(), Poisson(), LogAdditive(), posterior=WeibullPosterior()),
    "odds": PopularityModel(Linear(), Bernoulli(), Odds(), LogNormal()),
    "saturation": PopularityModel(Linear(), Bernoulli(), ProductSaturation()),
    "ratio": PopularityModel(Linear(), Bernoulli(), ProductRatio()),
    "tanh": PopularityModel(Linear(), Bernoulli(), ProductTanh()),
    "amortised rate": PopularityModel(Linear(), Poisson(), LogAdditive(), amortised=True),
    "amortised zeta": PopularityModel(Linear(), Bernoulli(), Additive(), amortised=True),
}


def terms(fit: Popular) -> dict[str, float]:
    """Log-likelihood and divergences; the weights that a product draws are the same each time."""
    estimator = ExpectedELBO()
    torch.manual_seed(0)
    with torch.no_grad():
        estimator.loss(fit.model, fit.q, fit.batch())
    return {name: float(value) for name, value in estimator.terms.items()}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_popularity_moves_along_its_orbit_to_the_top(popular: Build, spec: PopularityModel) -> None:
    fit = popular(spec)
    q: Any = fit.guide.popularity["q"]
    with torch.no_grad():
        q.move(torch.tensor(0.7))
        q.stretch(torch.tensor(0.8))
    before = terms(fit)
    anchor_popularity(fit.model, q)
    best = terms(fit)
    assert best["value"] == pytest.approx(before["value"], rel=1e-6)
    assert best["popularity"] < before["popularity"] - 1e-3
    for step in (-0.01, 0.01):
        with torch.no_grad():
            q.move(torch.tensor(step))
        assert terms(fit)["popularity"] > best["popularity"]
        with torch.no_grad():
            q.move(torch.tensor(-step))


def test_stretching_divides_location_and_spread(popular: Build) -> None:
    for amortised in (False, True):
        fit = popular(replace(SPECS["zeta"], amortised=amortised))
        q: Any = fit.guide.popularity["q"]
        everyone = torch.arange(fit.model.groups)
        location, log_spread = (x.detach().clone() for x in q(everyone))
        with torch.no_grad():
            q.stretch(torch.tensor(2.0))
        torch.testing.assert_close(q(everyone)[0], location / 2)
        torch.testing.assert_close(q(everyone)[1].exp(), log_spread.exp() / 2)


@pytest.mark.parametrize("spec", [SPECS["zeta"], SPECS["gamma"]], ids=["zeta", "gamma"])
def test_effects_give_up_what_features_explain(popular: Build, spec: PopularityModel) -> None:
    """Same likelihood, less divergence, and none left to gain by any further such move."""
    fit = popular(spec)
    user, weights = fit.model.user, fit.guide.weights
    with torch.no_grad():
        weights["user_effect"].mean += 0.4 + user.features.double() @ torch.tensor([0.8, -0.5]).double()  # type: ignore[operator]
    before = terms(fit)
    anchor_effects(fit.model.level.intercept, user, weights)
    best = terms(fit)
    assert best["value"] == pytest.approx(before["value"], rel=1e-9)
    assert best["user_effect"] + best["user_weights"] < before["user_effect"] + before["user_weights"] - 0.1
    means: list[Any] = [weights[site].mean for site in ("user_effect", "user_weights")]
    again = [mean.detach().clone() for mean in means]
    anchor_effects(fit.model.level.intercept, user, weights)
    for mean, first in zip(means, again, strict=True):
        torch.testing.assert_close(mean.detach(), first, rtol=0, atol=1e-9)


def test_nothing_moves_where_items_have_priors_of_their_own(popular: Build) -> None:
    laws = dist.Gamma(torch.full((ITEMS,), 3.0), torch.full((ITEMS,), 2.0))
    fit = popular(replace(SPECS["gamma"], source=ExposureCounts()), item_prior=Prior(laws, Scope.ITEM))
    q: Any = fit.guide.popularity["q"]
    before = q.location.detach().clone(), fit.model.level.intercept.detach().clone()
    anchor_popularity(fit.model, q)
    assert torch.equal(q.location, before[0])
    assert torch.equal(fit.model.level.intercept, before[1])
