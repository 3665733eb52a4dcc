"""The passive side integrated out: the expectation of drawing it, less noise; and one stored draw, which is neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Tiny

import pyrorec as pr
from pyrorec.data import InputError
from pyrorec.guides.stored import StoredGuide
from pyrorec.inference.elbo import AnalyticELBO, ExpectedELBO, MonteCarloELBO
from pyrorec.models.families import Bernoulli, Family, Gaussian, Poisson
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor

QUIET = pr.Context(progress=False)
DRAWS = 200
PAIRS: list[tuple[Predictor, Family, float]] = [
    (Plain(), Poisson(), 1.0),
    (Additive(), Poisson(), 0.3),
    (Additive(), Gaussian(), 1.0),
    (Plain(), Bernoulli(), 0.0),
]
every_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p[0].name}-{p[1].name}-{p[2]}")


def draws(fit: Tiny, elbo: AnalyticELBO | MonteCarloELBO, side: str, n: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """Losses, and gradients with respect to the bias of the active side's head, of independent steps."""
    bias = fit.guide.encoder[side].factors_head.mean.bias
    losses, gradients = [], []
    for seed in range(n):
        torch.manual_seed(seed)
        loss = elbo.differentiable_loss(fit.model, fit.q, fit.batch(side))
        losses.append(float(loss.detach()))
        gradients.append(torch.autograd.grad(loss, bias)[0].numpy())
    return np.array(losses), np.stack(gradients)


def calm(fit: Tiny) -> Tiny:
    """Smaller factors, so that averages of exponentials settle within a few hundred draws."""
    with torch.no_grad():
        for encoder in fit.guide.encoder.values():
            for head in (encoder.factors_head, encoder.effect_head):
                if head is not None:
                    head.mean.weight.mul_(0.2)
                    head.mean.bias.mul_(0.2)
                    head.raw_sd.bias.fill_(-1.5)
        for kept in fit.guide.posterior.values():
            kept.mean.mul_(0.5)
            kept.sd.fill_(0.35)
            kept.first.mul_(0.5)
            kept.second.fill_(0.3)
        fit.model.user.centre.mul_(0.5)
    return fit


@every_pair
@pytest.mark.parametrize("side", ["user", "item"])
def test_it_has_the_expectation_of_drawing_and_less_noise(
    tiny: Callable[..., Tiny], pair: tuple[Predictor, Family, float], side: str
) -> None:
    predictor, family, weight = pair
    fit = calm(tiny(predictor, family, missing_weight=weight))
    integrated, by_integral = draws(fit, ExpectedELBO(), side)
    drawn, by_draw = draws(fit, AnalyticELBO(), side)
    error = np.sqrt(integrated.var() / DRAWS + drawn.var() / DRAWS)
    assert abs(integrated.mean() - drawn.mean()) < 4 * error
    error = np.sqrt(by_integral.var(0) / DRAWS + by_draw.var(0) / DRAWS)
    assert (np.abs(by_integral.mean(0) - by_draw.mean(0)) < 4 * error).all()
    assert integrated.var() < 0.8 * drawn.var()
    assert by_integral.var(0).sum() < 0.8 * by_draw.var(0).sum()


def test_monte_carlo_agrees(tiny: Callable[..., Tiny]) -> None:
    fit = calm(tiny(Additive(), Poisson()))
    integrated, _ = draws(fit, ExpectedELBO(), "user")
    sampled, _ = draws(fit, MonteCarloELBO(), "user")
    assert abs(integrated.mean() - sampled.mean()) < 4 * np.sqrt(integrated.var() / DRAWS + sampled.var() / DRAWS)


def test_a_masked_cell_says_nothing(tiny: Callable[..., Tiny]) -> None:
    """Masking a cell changes the likelihood by that cell alone, and its value does not matter."""
    fit = tiny(Plain(), Poisson())
    keep = (torch.arange(len(fit.rows["user"].column)) != 1).double()
    losses = []
    for value in (0.0, 9.0):
        rows = replace(fit.rows["user"], value=fit.rows["user"].value * keep + value * (1 - keep) * 0)
        masked = replace(rows, trials=rows.trials * keep)
        torch.manual_seed(0)
        batch = replace(fit.batch("user"), rows=masked)
        losses.append(float(ExpectedELBO().differentiable_loss(fit.model, fit.q, batch).detach()))
    assert losses[0] == losses[1]
    torch.manual_seed(0)
    whole = float(ExpectedELBO().differentiable_loss(fit.model, fit.q, fit.batch("user")).detach())
    assert losses[0] != pytest.approx(whole, rel=1e-6)


@pytest.fixture(scope="module")
def log() -> pr.Interactions:
    random = np.random.default_rng(1)
    user, item = np.meshgrid(np.arange(40), np.arange(30), indexing="ij")
    likes = random.random((40, 30)) < np.where(user % 2 == item % 2, 0.5, 0.05)
    return pr.read_interactions(pd.DataFrame({"user_id": user[likes], "item_id": item[likes], "value": 1}))


@pytest.mark.parametrize("objective", [pr.Integrated(), pr.StoredSample()], ids=repr)
def test_it_trains(log: pr.Interactions, objective: pr.Integrated) -> None:
    training = pr.Training(epochs=20, objective=objective, learning_rate=0.03, validation_fraction=0.0)
    spec = pr.BilateralModel(factors=2, hidden=(6,), binarise=True, predictor=pr.Additive())
    run = pr.fit(spec, log, training=training, context=QUIET)
    elbo = [line["elbo"] for line in run.metrics]
    assert np.mean(elbo[-3:]) > np.mean(elbo[:3]) + 0.1


def test_what_has_no_closed_form_is_refused(log: pr.Interactions) -> None:
    training = pr.Training(epochs=1, objective=pr.Integrated())
    for spec, match in (
        (pr.BilateralModel(binarise=True), "integrates a row's own frailty"),
        (pr.BilateralModel(family=Bernoulli(), predictor=Plain()), "missing cells that count as zeros"),
    ):
        with pytest.raises(InputError, match=match):
            pr.fit(spec, log, training=training, context=QUIET)
    correlated = pr.BilateralModel(binarise=True, predictor=Plain(), covariance=pr.Full())
    with pytest.raises(InputError, match="correlated factors cannot be integrated"):
        pr.fit(correlated, log, training=replace(training, schedule=pr.Joint()), context=QUIET)
    with pytest.raises(InputError, match="are for the bilateral model"):
        pr.fit(pr.PopularityModel(), log, training=training, context=QUIET)


def test_one_draw_serves_a_phase(tiny: Callable[..., Tiny]) -> None:
    """Steps differ by the active side's draw alone until the passive side is refreshed; divergences stay whole."""
    fit = tiny(Plain(), Poisson(), guide=StoredGuide)
    for head in (encoder.factors_head for encoder in fit.guide.encoder.values()):
        with torch.no_grad():
            head.raw_sd.bias.fill_(-40.0)
    elbo = AnalyticELBO()

    def seen(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        with torch.no_grad():
            elbo.differentiable_loss(fit.model, fit.q, fit.batch("user"))
        return float(elbo.terms["value"]), float(elbo.terms["item_factors"])

    kept = fit.guide.posterior["item"]
    with torch.no_grad():
        kept.sd.fill_(0.3)
    first, again = seen(0), seen(1)
    assert first[0] == pytest.approx(again[0], rel=1e-4)
    ratio, scale = (kept.sd / fit.model.item.scale) ** 2, fit.model.item.scale
    assert first[1] == pytest.approx(float(0.5 * (ratio - 1 - ratio.log() + (kept.mean / scale) ** 2).sum()), rel=1e-6)
    with torch.no_grad():
        fit.guide.encoder["item"].factors_head.raw_sd.bias.fill_(1.0)
    fit.guide.refresh(fit.model, "item", fit.rows["item"])
    assert seen(0)[0] != pytest.approx(first[0], rel=1e-3)
    assert "item_draw" in fit.guide.state_dict()  # a resumed fit goes on with the same draw


def test_frailty_rows_refuse_where_the_fit_would(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(LogAdditive(), Poisson())
    with pytest.raises(pr.UnfitPair, match="own frailty"):
        ExpectedELBO().differentiable_loss(fit.model, fit.q, fit.batch("user"))
