"""The objective by the Jaakkola-Jordan bound: below the ELBO, free of draws, one number for both sides, and of use."""

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
from pyrorec.inference.elbo import AnalyticELBO, BoundedELBO, ExpectedELBO
from pyrorec.models.families import Bernoulli, Binomial, Cloglog, Family
from pyrorec.models.predictors import Additive, Plain, Predictor

QUIET = pr.Context(progress=False)
DRAWS = 300
SETTINGS: list[tuple[Predictor, Family, float]] = [
    (Plain(), Bernoulli(), 1.0),
    (Additive(), Bernoulli(), 0.3),
    (Additive(), Binomial(size=5), 1.0),
    (Plain(), Bernoulli(), 0.0),
]
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s[0].name}-{s[1].name}-{s[2]}")


def loss(elbo: AnalyticELBO, fit: Tiny, side: str, seed: int, ids: list[int] | None = None) -> float:
    torch.manual_seed(seed)
    return float(elbo.differentiable_loss(fit.model, fit.q, fit.batch(side, ids)).detach())


def build(tiny: Callable[..., Tiny], setting: tuple[Predictor, Family, float]) -> Tiny:
    predictor, family, weight = setting
    return tiny(predictor, family, missing_weight=weight)


@every_setting
def test_it_lies_below_the_elbo_and_near_it(
    tiny: Callable[..., Tiny], setting: tuple[Predictor, Family, float]
) -> None:
    """The ELBO as the mean over draws; where absent cells say nothing, over draws of the one side (less noise)."""
    fit = build(tiny, setting)
    elbo = AnalyticELBO() if setting[-1] else ExpectedELBO()
    sampled = np.array([loss(elbo, fit, "user", seed) for seed in range(DRAWS)])
    error = sampled.std() / DRAWS**0.5
    gap = loss(BoundedELBO(), fit, "user", 0) - sampled.mean()
    assert gap > 4 * error
    assert gap < 0.2 * abs(sampled.mean())


@every_setting
def test_nothing_is_drawn_and_both_sides_climb_one_number(
    tiny: Callable[..., Tiny], setting: tuple[Predictor, Family, float]
) -> None:
    fit = build(tiny, setting)
    whole = loss(BoundedELBO(), fit, "user", 0)
    assert loss(BoundedELBO(), fit, "user", 1) == whole
    assert loss(BoundedELBO(), fit, "item", 2) == pytest.approx(whole, rel=1e-10)
    elbo = BoundedELBO()
    by_users = []
    for user in range(6):
        loss(elbo, fit, "user", 0, [user])
        by_users.append(float(elbo.terms["value"]) / 6)  # a batch of one user stands for all six
    loss(elbo, fit, "user", 0)
    assert sum(by_users) == pytest.approx(float(elbo.terms["value"]), rel=1e-10)


@pytest.mark.parametrize("side", ["user", "item"])
def test_gradients_of_a_step_equal_finite_differences(tiny: Callable[..., Tiny], side: str) -> None:
    fit = build(tiny, (Additive(), Bernoulli(), 0.5))
    head = fit.guide.encoder[side].factors_head
    watched = [head.mean.bias, head.raw_sd.bias, fit.model.level.intercept]
    value = BoundedELBO().differentiable_loss(fit.model, fit.q, fit.batch(side))
    for parameter, slope in zip(watched, torch.autograd.grad(value, watched), strict=True):
        step, at = 1e-5, (0,) * parameter.ndim
        with torch.no_grad():
            parameter[at] += step
            above = loss(BoundedELBO(), fit, side, 0)
            parameter[at] -= 2 * step
            below = loss(BoundedELBO(), fit, side, 0)
            parameter[at] += step
        assert (above - below) / (2 * step) == pytest.approx(float(slope[at]), rel=1e-6)


@pytest.fixture(scope="module")
def world() -> tuple[pr.Interactions, pr.Interactions]:
    """Clicks of 200 users on 80 items by a logit with two factors: three quarters to train on, a quarter held out."""
    random = np.random.default_rng(4)
    eta = -2.0 + 1.5 * random.normal(size=(200, 2)) @ random.normal(size=(2, 80))
    user, item = np.nonzero(random.random(eta.shape) < 1 / (1 + np.exp(-eta)))
    log = pr.read_interactions(pd.DataFrame({"user_id": user, "item_id": item, "value": 1}))
    return pr.split_random(log, 0.25, 0)


SPEC = pr.BilateralModel(factors=2, hidden=(20,), family=Bernoulli(), predictor=Plain())
TRAINING = pr.Training(epochs=60, batch_size=50, learning_rate=0.03, validation_fraction=0.0)


@pytest.mark.parametrize("schedule", [pr.ItemsThenUsers(), pr.Joint()], ids=repr)
def test_training_raises_the_bound(world: tuple[pr.Interactions, pr.Interactions], schedule: pr.Joint) -> None:
    training = replace(TRAINING, epochs=25, objective=pr.JaakkolaJordan(), schedule=schedule, kl_warmup=0)
    metrics = pr.fit(SPEC, world[0], training=training, context=QUIET).metrics
    bound = [line["elbo"] for line in metrics]
    assert bound[-1] > bound[0] + 0.3
    assert np.mean(np.diff(bound) > 0) > 0.8


def test_it_ranks_simulated_clicks_as_well_as_drawing_and_loses_little_density(
    world: tuple[pr.Interactions, pr.Interactions],
) -> None:
    """NDCG to two standard errors over users. Held-out density is biased by the bound, here by some .3 percent."""
    runs = {
        name: pr.fit(SPEC, world[0], seed=0, training=replace(TRAINING, objective=objective), context=QUIET)
        for name, objective in (("drawn", pr.Analytic()), ("bounded", pr.JaakkolaJordan()))
    }
    table = pr.compare(runs, world[1], at=10, draws=100)
    density, ranking = table["elpd"], table["ndcg@10"]
    assert density["bounded"] > 1.01 * density["drawn"]
    assert ranking["bounded"] - ranking["drawn"] > -2 * table["ndcg@10_difference_se"].max()
    baseline = pr.evaluate(runs["bounded"], world[1], baselines=(pr.Popularity(),))
    assert ranking["bounded"] > 1.5 * baseline.loc["popularity", "ndcg@10"]


def test_what_it_does_not_bound_is_refused(world: tuple[pr.Interactions, pr.Interactions]) -> None:
    training = pr.Training(epochs=1, objective=pr.JaakkolaJordan())
    for spec, match in (
        (replace(SPEC, family=Cloglog()), "bounds clicks under a logit, and family cloglog is none"),
        (pr.BilateralModel(binarise=True), "bounds clicks under a logit, and family poisson is none"),
        (replace(SPEC, covariance=pr.Full()), "takes factors of a row for independent"),
        (pr.PopularityModel(), "are for the bilateral model"),
        (pr.JointModel(), "joint model is trained by"),
    ):
        with pytest.raises(InputError, match=match):
            pr.fit(spec, world[0], training=training, context=QUIET)
    with pytest.raises(InputError, match="take objective jaakkola-jordan or analytic"):
        pr.fit(SPEC, world[0], training=replace(training, objective=pr.Integrated()), context=QUIET)
