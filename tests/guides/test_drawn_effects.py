"""Effects that no row integrates out: their q, the bound, where they are anchored, and priors of items' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from conftest import Tiny
from torch.distributions import kl_divergence

from pyrorec.guides.effect import effect_law
from pyrorec.inference.elbo import AnalyticELBO, MonteCarloELBO
from pyrorec.models.distributions import Exponential, Gamma, LogNormal, Normal, Prior, Scope, Weibull
from pyrorec.models.factor_priors import Standard
from pyrorec.models.families import Bernoulli, Family, Poisson
from pyrorec.models.laws import scaled
from pyrorec.models.posterior_families import GammaPosterior, LogNormalPosterior, NormalPosterior, WeibullPosterior
from pyrorec.models.predictors import Additive, LogAdditive, Odds, Predictor, ProductRatio, ProductSaturation
from pyrorec.models.side import Side, SideEffect

CASES: dict[str, tuple[Predictor, Family, dict[str, Any]]] = {
    "lognormal counts": (LogAdditive(), Poisson(), {"popularity": LogNormal(sd=0.8)}),
    "exponential counts": (LogAdditive(), Poisson(), {"popularity": Exponential(), "activity": Exponential()}),
    "weibull counts": (LogAdditive(), Poisson(), {"popularity": Weibull(shape=1.3)}),
    "lognormal counts, weibull q": (
        LogAdditive(), Poisson(), {"popularity": LogNormal(), "posterior": WeibullPosterior()},
    ),
    "gamma odds": (Odds(), Bernoulli(), {"popularity": Gamma(shape=2.0)}),
    "gamma saturation": (ProductSaturation(), Bernoulli(), {"popularity": Gamma(shape=2.0)}),
    "lognormal ratio": (ProductRatio(), Bernoulli(), {"popularity": LogNormal(sd=0.7)}),
}  # fmt: skip
by_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
by_side = pytest.mark.parametrize("side", ["user", "item"])


def built(tiny: Callable[..., Tiny], case: tuple[Predictor, Family, dict[str, Any]]) -> Tiny:
    predictor, family, parts = case
    return tiny(predictor, family, **parts)


@by_side
@by_case
def test_the_analytic_bound_is_the_mean_of_the_drawn_one(tiny: Callable[..., Tiny], case: Any, side: str) -> None:
    """Closed-form divergences against log q - log p at the same draws."""
    fit = built(tiny, case)
    batch, found = fit.batch(side), []
    for seed in range(300):
        losses = []
        for elbo in (AnalyticELBO(), MonteCarloELBO()):
            torch.manual_seed(seed)
            with torch.no_grad():
                losses.append(float(elbo.differentiable_loss(fit.model, fit.q, batch)))
        found.append(losses[0] - losses[1])
    difference = np.array(found)
    assert difference.std() > 1e-3  # the drawn divergence is no constant
    assert abs(difference.mean()) < 4 * difference.std() / len(difference) ** 0.5


@by_case
def test_popularity_is_a_site_of_both_sides_and_moves_with_the_items(tiny: Callable[..., Tiny], case: Any) -> None:
    fit = built(tiny, case)
    head = fit.guide.encoder["item"].effect_head
    assert head is not None
    for side, moves in (("user", False), ("item", True)):
        elbo = AnalyticELBO()
        fit.guide.zero_grad()
        elbo.differentiable_loss(fit.model, fit.q, fit.batch(side)).backward()
        assert {"popularity", "user_factors", "item_factors"} <= elbo.terms.keys()
        assert (head.mean.weight.grad is not None and bool(head.mean.weight.grad.any())) == moves


def responses(fit: Tiny, side: str) -> torch.Tensor:
    """What each row's effect makes of a cell, at three quantiles of its law: (3, rows)."""
    one, kept = fit.model.sides(side)[0], fit.guide.posterior[side]
    z = torch.stack([kept.effect.icdf(torch.tensor(p).double()) for p in (0.2, 0.5, 0.9)])  # type: ignore[union-attr]
    eta = fit.model.level.intercept.expand(z.shape)
    return one.predictor.value().mean(fit.model.family.value(), eta, z).detach()


def divergence(fit: Tiny, side: str) -> float:
    one = fit.model.sides(side)[0]
    return float(kl_divergence(fit.guide.posterior[side].effect, one.effect_prior()).sum().detach())  # type: ignore[arg-type]


WITH_QUANTILES = ["lognormal counts", "weibull counts", "lognormal ratio"]


@pytest.mark.parametrize("name", WITH_QUANTILES)
def test_anchoring_changes_no_response_and_lowers_the_divergence(tiny: Callable[..., Tiny], name: str) -> None:
    fit = built(tiny, CASES[name])
    fit.guide.refresh(fit.model, "item", fit.rows["item"])
    before, kl = responses(fit, "item"), divergence(fit, "item")
    moved = fit.guide.posterior["item"].effect.mean.log()  # type: ignore[union-attr]
    fit.guide.anchor(fit.model, "item")
    torch.testing.assert_close(responses(fit, "item"), before, rtol=1e-9, atol=0)
    assert divergence(fit, "item") < kl - 1e-3
    assert (fit.guide.posterior["item"].effect.mean.log() - moved).abs().min() > 1e-3  # type: ignore[union-attr]


@by_case
def test_the_anchor_is_where_a_shift_of_all_popularities_gains_nothing(tiny: Callable[..., Tiny], case: Any) -> None:
    fit = built(tiny, case)
    fit.guide.refresh(fit.model, "item", fit.rows["item"])
    fit.guide.anchor(fit.model, "item")
    law, least = fit.guide.posterior["item"].effect, divergence(fit, "item")
    for factor in (0.97, 1.03):
        fit.guide.posterior["item"].set_effect(scaled(law, factor))  # type: ignore[arg-type]
        assert divergence(fit, "item") > least


@by_case
def test_the_encoder_speaks_of_the_anchored_effect_from_then_on(tiny: Callable[..., Tiny], case: Any) -> None:
    fit = built(tiny, case)
    kept = fit.guide.posterior["item"]
    fit.guide.refresh(fit.model, "item", fit.rows["item"])
    fit.guide.anchor(fit.model, "item")
    anchored = kept.first.clone(), kept.second.clone()
    fit.guide.refresh(fit.model, "item", fit.rows["item"])
    torch.testing.assert_close((kept.first, kept.second), anchored, rtol=1e-5, atol=1e-5)


def test_the_spread_of_a_lognormal_population_is_that_of_the_aggregated_posterior(tiny: Callable[..., Tiny]) -> None:
    """Maths 3.6: s^2 = mean[s_i^2 + (m_i - m)^2], and no other sd has a smaller divergence."""
    fit = built(tiny, CASES["lognormal counts"])
    fit.guide.refresh(fit.model, "item", fit.rows["item"])
    fit.guide.anchor(fit.model, "item")
    kept, log_sd = fit.guide.posterior["item"], fit.model.item.effect.log_values["sd"]  # type: ignore[union-attr]
    spread = (kept.second.square() + (kept.first - kept.first.mean()).square()).mean()
    assert float(log_sd.exp().detach()) ** 2 == pytest.approx(float(spread))
    assert float(kept.first.mean()) == pytest.approx(-0.5 * float(spread))


# --- priors of the items' own


def side_with(own: dist.TorchDistribution | None, law: Any, predictor: Predictor, posterior: Any) -> Side:
    prior = None if own is None else Prior(own, Scope.ITEM)
    return Side(
        "item", 3, 2, 0.7, SideEffect("popularity", law, predictor, posterior, prior), False, Standard()
    ).double()


def test_a_gamma_prior_of_an_items_own_meets_its_row_as_conjugacy_says() -> None:
    """Reading s^-2 - 1 = n / a about the population's Gamma(a, a) adds n to the shape of any other prior."""
    own = dist.Gamma(torch.tensor([0.5, 4.0, 40.0]).double(), torch.tensor([1.0, 2.0, 50.0]).double())
    a, n = 2.0, torch.tensor([0.0, 3.0, 10.0]).double()
    side = side_with(own, Gamma(shape=a), Odds(), GammaPosterior())
    read = dist.Normal(torch.zeros(3).double(), (1 + n / a).rsqrt())
    law: Any = effect_law(side, read, torch.arange(3), None)
    torch.testing.assert_close(law.concentration, own.concentration + n)
    torch.testing.assert_close(law.mean[:1], own.mean[:1])


def test_a_normal_prior_of_an_items_own_meets_its_row_by_precisions() -> None:
    """The product of the row's own message and another prior, by Bayes' rule for normals."""
    own = dist.Normal(torch.tensor([-1.0, 0.4, 2.0]).double(), torch.tensor([0.3, 0.8, 1.2]).double())
    side = side_with(own, Normal(), Additive(), NormalPosterior())
    centre, noise = torch.tensor([0.5, -1.0, 3.0]).double(), torch.tensor([0.4, 1.0, 2.0]).double()
    under_standard = 1 / (1 + noise**-2)
    read = dist.Normal(under_standard * centre / noise**2, under_standard.sqrt())
    law = effect_law(side, read, torch.arange(3), None)
    precision = own.scale**-2 + noise**-2
    torch.testing.assert_close(law.mean, (own.loc / own.scale**2 + centre / noise**2) / precision)
    torch.testing.assert_close(law.stddev, precision.rsqrt())


def test_rows_that_say_nothing_have_their_prior_and_strangers_the_populations() -> None:
    own = dist.LogNormal(torch.tensor([-1.0, 0.4, 2.0]).double(), torch.tensor([0.3, 0.8, 1.2]).double())
    side = side_with(own, LogNormal(sd=0.9), LogAdditive(), LogNormalPosterior())
    read = dist.Normal(torch.full((3,), 0.7).double(), torch.full((3,), 0.2).double())
    law: Any = effect_law(side, read, torch.tensor([0, 2, 99]), torch.tensor([True, True, True]))
    population: Any = side.population()
    torch.testing.assert_close(law.loc, torch.stack([own.loc[0], own.loc[2], population.loc]))
    torch.testing.assert_close(law.scale, torch.stack([own.scale[0], own.scale[2], population.scale]))


@pytest.mark.parametrize(
    ("predictor_", "family_", "law"),
    [
        (Additive(), Bernoulli(), dist.Normal(torch.linspace(-1, 1, 5).double(), torch.full((5,), 0.4).double())),
        (LogAdditive(), Poisson(), dist.Gamma(torch.arange(1.0, 6).double(), torch.full((5,), 2.0).double())),
        (ProductRatio(), Bernoulli(), dist.Gamma(torch.arange(1.0, 6).double(), torch.full((5,), 2.0).double())),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_effects_with_priors_of_their_own_are_pinned(
    tiny: Callable[..., Tiny], predictor_: Predictor, family_: Family, law: Any
) -> None:
    fit = tiny(predictor_, family_, item_prior=Prior(law, Scope.ITEM))
    fit.guide.refresh(fit.model, "item", fit.rows["item"])
    kept = fit.guide.posterior["item"]
    before = kept.first.clone(), kept.second.clone(), float(fit.model.level.intercept.detach())
    fit.guide.anchor(fit.model, "item")
    torch.testing.assert_close((kept.first, kept.second), before[:2], rtol=0, atol=0)
    assert float(fit.model.level.intercept.detach()) == before[2]
    assert not any(p.requires_grad for p in fit.model.item.effect.parameters())  # type: ignore[union-attr]
    torch.testing.assert_close(fit.model.item.effect_prior().mean, law.mean)


def test_a_frailty_with_an_items_own_prior_has_its_conjugate_posterior(tiny: Callable[..., Tiny]) -> None:
    """z_i | y ~ Gamma(a_i + n_i, b_i + mass): the difference to the population's is that of the priors."""
    a, b = torch.arange(1.0, 6).double(), torch.linspace(0.5, 3, 5).double()
    common, own = (
        tiny(LogAdditive(), Poisson()),
        tiny(LogAdditive(), Poisson(), item_prior=Prior(dist.Gamma(a, b), Scope.ITEM)),
    )
    own.guide.load_state_dict(common.guide.state_dict())
    state = own.model.state_dict()
    own.model.load_state_dict({name: common.model.state_dict().get(name, value) for name, value in state.items()})
    laws: list[Any] = [
        fit.guide.frailty_posterior(fit.model, fit.model.item, fit.rows["item"], torch.arange(5))
        for fit in (common, own)
    ]
    shape = common.model.item.effect.value().shape.detach()  # type: ignore[union-attr]
    torch.testing.assert_close(laws[1].concentration - a, laws[0].concentration.detach() - shape)
    torch.testing.assert_close(laws[1].rate - b, laws[0].rate.detach() - shape)
