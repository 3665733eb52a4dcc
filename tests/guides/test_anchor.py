"""Anchoring moves along orbits on which the likelihood is constant, to where the prior is happiest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import Tiny
from torch.distributions import kl_divergence

from pyrorec.guides import DeltaGuide
from pyrorec.guides.anchor import aggregated_moments
from pyrorec.inference.elbo import AnalyticELBO
from pyrorec.models.families import Bernoulli, Cloglog, Family, Gaussian, Poisson
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor

CASES = [
    (LogAdditive(), Poisson()),
    (LogAdditive(), Cloglog()),
    (Additive(popularity_effect=0.7), Bernoulli()),
    (Additive(popularity_effect=1.3), Gaussian()),
]
IDS = [f"{predictor.name}-{family.name}" for predictor, family in CASES]
by_case = pytest.mark.parametrize(("predictor_", "family_"), CASES, ids=IDS)
by_side = pytest.mark.parametrize("side", ["user", "item"])


def level(fit: Tiny, side: str) -> torch.Tensor:
    """Intercept plus the effect's offset at three quantile-like points of every row's law, (3, rows)."""
    kept, one = fit.guide.posterior[side], fit.model.sides(side)[0]
    if isinstance(one.predictor.value(), LogAdditive):
        points = torch.tensor([0.2, 1.0, 3.0]).double()[:, None] / kept.second
    else:
        points = kept.first + torch.tensor([-1.0, 0.0, 2.0]).double()[:, None] * kept.second
    return (fit.model.level.intercept + one.offset(points)).detach()


def divergence(fit: Tiny, side: str) -> float:
    """Sum of KL(q || p) over the rows of a side."""
    one = fit.model.sides(side)[0]
    law = fit.guide.posterior[side].effect
    assert law is not None
    return float(kl_divergence(law, one.effect_prior()).sum().detach())


def spoiled(fit: Tiny, side: str) -> Tiny:
    """The same fit with the side's effects far from their anchor."""
    kept = fit.guide.posterior[side]
    if isinstance(fit.model.sides(side)[0].predictor.value(), LogAdditive):
        kept.second.mul_(1.8)
    else:
        kept.first.mul_(1.5).add_(0.8)
    return fit


@by_side
@by_case
def test_no_linear_predictor_changes(
    tiny: Callable[..., Tiny], predictor_: Predictor, family_: Family, side: str
) -> None:
    fit = spoiled(tiny(predictor_, family_), side)
    before, intercept = level(fit, side), float(fit.model.level.intercept.detach())
    fit.guide.anchor(fit.model, side)
    torch.testing.assert_close(level(fit, side), before)
    assert abs(float(fit.model.level.intercept.detach()) - intercept) > 0.05


@by_side
@by_case
def test_the_prior_is_matched_and_the_divergence_least_along_the_orbit(
    tiny: Callable[..., Tiny], predictor_: Predictor, family_: Family, side: str
) -> None:
    fit = spoiled(tiny(predictor_, family_), side)
    before = divergence(fit, side)
    fit.guide.anchor(fit.model, side)
    kept, least = fit.guide.posterior[side], divergence(fit, side)
    assert least < before - 0.05
    moves: list[Callable[[float], None]] = []
    if isinstance(predictor_, LogAdditive):
        assert float((kept.first / kept.second).mean()) == pytest.approx(1.0)
        moves.append(lambda by: kept.second.mul_(1 + by))  # type: ignore[func-returns-value]
    else:
        mean, sd = aggregated_moments(kept)
        assert float(mean) == pytest.approx(0.0, abs=1e-12)
        assert float(sd) == pytest.approx(1.0)
        moves.append(lambda by: kept.first.add_(by))  # type: ignore[func-returns-value]
        moves.append(lambda by: (kept.first.mul_(1 + by), kept.second.mul_(1 + by)))  # type: ignore[func-returns-value]
    state = kept.first.clone(), kept.second.clone()
    for move in moves:
        for by in (-0.03, 0.03):
            move(by)
            assert divergence(fit, side) > least
            kept.first.copy_(state[0])
            kept.second.copy_(state[1])


@by_side
def test_the_encoder_speaks_of_the_anchored_effect_from_then_on(tiny: Callable[..., Tiny], side: str) -> None:
    fit = tiny(Additive(), Bernoulli())
    fit.guide.refresh(fit.model, side, fit.rows[side])
    fit.guide.anchor(fit.model, side)
    anchored = fit.guide.posterior[side].first.clone(), fit.guide.posterior[side].second.clone()
    fit.guide.refresh(fit.model, side, fit.rows[side])
    kept = fit.guide.posterior[side]
    torch.testing.assert_close((kept.first, kept.second), anchored, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("active", "passive"), [("user", "item"), ("item", "user")])
def test_the_elbo_gains_what_the_divergence_loses(tiny: Callable[..., Tiny], active: str, passive: str) -> None:
    fit, elbo = spoiled(tiny(LogAdditive(), Poisson()), passive), AnalyticELBO()

    def loss() -> tuple[float, float]:
        torch.manual_seed(3)
        value = float(elbo.differentiable_loss(fit.model, fit.q, fit.batch(active)).detach())
        return value, float(elbo.terms["value"])

    (before, likelihood), kl = loss(), divergence(fit, passive)
    fit.guide.anchor(fit.model, passive)
    after, unchanged = loss()
    assert unchanged == pytest.approx(likelihood, rel=1e-9)
    assert before - after == pytest.approx(kl - divergence(fit, passive), rel=1e-6)


def test_points_are_anchored_too_and_plain_models_left_alone(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(Additive(), Bernoulli(), guide=DeltaGuide)
    fit.guide.anchor(fit.model, "item")
    kept = fit.guide.posterior["item"]
    assert float(kept.first.std(correction=0)) == pytest.approx(1.0)
    assert not kept.second.any()
    plain = tiny(Plain(), Poisson())
    intercept = float(plain.model.level.intercept.detach())
    plain.guide.anchor(plain.model, "user")
    assert float(plain.model.level.intercept.detach()) == intercept
