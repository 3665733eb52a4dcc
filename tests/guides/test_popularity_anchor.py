"""What the likelihood leaves to the priors is set where the bound is highest along its orbit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import Popular

from pyrorec.guides.popularity_anchor import anchor_effects, anchor_popularity, anchors
from pyrorec.inference.elbo import ExpectedELBO
from pyrorec.models.affinities import Linear
from pyrorec.models.distributions import LogNormal
from pyrorec.models.families import Bernoulli, Cloglog, Poisson
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import WeibullPosterior
from pyrorec.models.predictors import Additive, LogAdditive, Odds

Build = Callable[..., Popular]
SPECS = {
    "zeta": PopularityModel(Linear(), Bernoulli(), Additive()),
    "gamma": PopularityModel(Linear(), Poisson(), LogAdditive()),
    "lognormal": PopularityModel(Linear(), Cloglog(), LogAdditive(), LogNormal()),
    "weibull posterior": PopularityModel(Linear(), Poisson(), LogAdditive(), posterior=WeibullPosterior()),
    "odds": PopularityModel(Linear(), Bernoulli(), Odds(), LogNormal()),
}


def terms(fit: Popular) -> dict[str, float]:
    """Log-likelihood and divergences, nothing sampled."""
    estimator = ExpectedELBO()
    with torch.no_grad():
        estimator.loss(fit.model, fit.q, fit.batch())
    return {name: float(value) for name, value in estimator.terms.items()}


def numbers(fit: Popular) -> tuple[Any, Any]:
    q: Any = fit.guide.popularity["q"]
    return q.location, q.log_spread


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_popularity_moves_along_its_orbit_to_the_top(popular: Build, spec: PopularityModel) -> None:
    fit = popular(spec)
    assert anchors(fit.model)
    location, log_spread = numbers(fit)
    with torch.no_grad():
        location += 0.7
        log_spread += 0.3
    before = terms(fit)
    anchor_popularity(fit.model, location.data, log_spread.data)
    best = terms(fit)
    assert best["value"] == pytest.approx(before["value"], rel=1e-7)
    assert best["popularity"] < before["popularity"] - 1e-3
    for step in (-0.01, 0.01):
        with torch.no_grad():
            location += step
        assert terms(fit)["popularity"] > best["popularity"]
        with torch.no_grad():
            location -= step


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


def test_nothing_moves_where_the_level_is_not_free(popular: Build) -> None:
    assert not anchors(popular(replace(SPECS["gamma"], amortised=True)).model)
    assert not anchors(popular(replace(SPECS["gamma"], affinity_first=True)).model)
