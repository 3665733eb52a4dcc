"""The joint schedule: one ELBO, both encoders trained at once, users' rows alone observed; and cyclical warm-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Tiny

import pyrorec as pr
from pyrorec.guides import DeltaGuide
from pyrorec.inference.elbo import AnalyticELBO, MonteCarloELBO
from pyrorec.inference.free_bits import FreeBitsELBO
from pyrorec.models.bilateral import Batch, Bilateral
from pyrorec.models.families import Family, Gaussian, Poisson
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor
from pyrorec.models.side import Side

QUIET = pr.Context(progress=False)
SHORT = pr.Training(epochs=6, batch_size=20, learning_rate=0.03, validation_fraction=0.0, kl_warmup=0)


def live(fit: Tiny, ids: list[int] | None = None) -> Batch:
    return replace(fit.batch("user", ids), passive_rows=fit.rows["item"])


def loss_of(fit: Tiny, batch: Batch, elbo: AnalyticELBO | MonteCarloELBO | None = None) -> torch.Tensor:
    torch.manual_seed(0)
    return (elbo or AnalyticELBO()).differentiable_loss(fit.model, fit.q, batch)  # type: ignore[no-any-return]


def settled(fit: Tiny) -> Tiny:
    """Both kept posteriors are what the encoders say."""
    for side in ("user", "item", "user", "item"):
        fit.guide.refresh(fit.model, side, fit.rows[side])
    return fit


def test_it_is_the_user_step_with_the_items_encoded(
    tiny: Callable[..., Tiny], predictor: Predictor, family: Family
) -> None:
    """Where the kept posterior is the encoder's, with one seed, both see the same draws: the losses agree."""
    fit = settled(tiny(predictor, family))
    with torch.no_grad():
        assert float(loss_of(fit, live(fit))) == pytest.approx(float(loss_of(fit, fit.batch("user"))), rel=1e-10)


@pytest.mark.parametrize("pair", [(Plain(), Poisson()), (Additive(), Gaussian())], ids=["plain", "additive"])
def test_gradients_reach_both_encoders(tiny: Callable[..., Tiny], pair: tuple[Predictor, Family]) -> None:
    fit = settled(tiny(*pair))

    def moved(batch: Batch) -> set[str]:
        fit.guide.zero_grad()
        loss_of(fit, batch).backward()
        named = fit.guide.named_parameters()
        return {name for name, p in named if p.grad is not None and bool(p.grad.any())}

    only = moved(fit.batch("user"))
    both = moved(live(fit))
    assert only
    assert all(name.startswith("encoder.user.") for name in only)
    assert both - only == {name.replace("user", "item") for name in only}


def test_the_mean_over_batches_is_the_whole(tiny: Callable[..., Tiny]) -> None:
    """Points, so that nothing is random: the users' terms by their share, the items' divergence whole."""
    fit = settled(tiny(LogAdditive(), Poisson(), guide=DeltaGuide))
    with torch.no_grad():
        whole = float(loss_of(fit, live(fit), MonteCarloELBO()))
        single = [float(loss_of(fit, live(fit, [i]), MonteCarloELBO())) for i in range(6)]
    assert np.mean(single) == pytest.approx(whole, rel=1e-10)


@pytest.fixture(scope="module")
def log() -> pr.Interactions:
    random = np.random.default_rng(1)
    user, item = np.meshgrid(np.arange(60), np.arange(30), indexing="ij")
    likes = random.random((60, 30)) < np.where(user % 2 == item % 2, 0.5, 0.05)
    return pr.read_interactions(pd.DataFrame({"user_id": user[likes], "item_id": item[likes], "value": 1}))


@pytest.mark.parametrize("kind", [Plain(), LogAdditive()], ids=lambda p: p.name)
def test_a_joint_fit_observes_users_alone_and_learns(
    log: pr.Interactions, kind: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed: list[str] = []
    rows = Bilateral.row_distribution

    def spied(self: Bilateral, active: Side, *rest: Any) -> Any:
        observed.append(active.name)
        return rows(self, active, *rest)

    monkeypatch.setattr(Bilateral, "row_distribution", spied)
    spec = pr.BilateralModel(factors=2, hidden=(8,), binarise=True, predictor=kind)
    training = replace(SHORT, schedule=pr.Joint(passes=2), epochs=25)
    run = pr.fit(spec, log, training=training, context=QUIET)
    assert set(observed) == {"user"}
    assert len(observed) == 25 * 2 * 3
    elbo = [line["elbo"] for line in run.metrics]
    assert np.mean(elbo[-5:]) > np.mean(elbo[:5]) + 0.1
    assert not any(name.startswith("item/") for name in run.metrics[0])
    mean = run.posterior.linear_mean(torch.arange(60))
    same = torch.as_tensor(np.asarray(run.posterior.users)[:, None] % 2 == np.asarray(run.posterior.items) % 2)
    assert float(mean[same].mean()) > float(mean[~same].mean()) + 0.3


def test_each_side_may_have_its_own_passes() -> None:
    assert pr.ItemsThenUsers(item_passes=2).phases() == ("item", "item", "user")
    assert pr.UsersThenItems(passes=3, item_passes=1).phases() == ("user", "user", "user", "item")
    for bad in ({"user_passes": 0}, {"item_passes": -1}):
        with pytest.raises(ValueError, match="_passes must be at least 1"):
            pr.UsersThenItems(**bad)
    with pytest.raises(ValueError, match="passes must be at least 1"):
        pr.Joint(passes=0)


def test_cyclical_warm_up_starts_anew(log: pr.Interactions) -> None:
    training = replace(SHORT, kl_warmup=2, kl_weight=0.6, annealing=pr.Cyclical(period=4))
    run = pr.fit(pr.BilateralModel(factors=1, hidden=(2,), binarise=True), log, training=training, context=QUIET)
    assert [line["kl_weight"] for line in run.metrics] == pytest.approx([0.2, 0.4, 0.6, 0.6, 0.2, 0.4])
    assert [training.warming(epoch) for epoch in range(6)] == [True, True, False, False, True, True]
    with pytest.raises(ValueError, match="period must be at least 2"):
        pr.Cyclical(period=1)


def test_free_bits_floor_each_factor(tiny: Callable[..., Tiny]) -> None:
    """The loss rises by what the floor lies above the mean KL of a factor, times the side's rows."""
    fit = tiny(LogAdditive(), Poisson())
    batch = fit.batch("user", [4, 0, 2], kl_weight=0.5)
    plain = AnalyticELBO()
    with torch.no_grad():
        base = float(loss_of(fit, batch, plain))
        active = fit.guide.encode(fit.model, fit.model.user, batch.rows).factors.base_dist
        laws = {"user": active, "item": fit.guide.posterior["item"].factors.base_dist}
        lift = 0.0
        for side, q in laws.items():
            ratio = (q.scale / getattr(fit.model, side).scale) ** 2
            kl = 0.5 * (ratio - 1 - ratio.log() + (q.loc / getattr(fit.model, side).scale) ** 2).mean(0)
            lift += 0.5 * {"user": 6, "item": 5}[side] * float((1.5 - kl).clamp_min(0).sum())
        assert lift > 0.05
        assert float(loss_of(fit, batch, FreeBitsELBO(1.5))) == pytest.approx(base + lift, rel=1e-6)
        assert float(loss_of(fit, batch, FreeBitsELBO(0.0))) == pytest.approx(base, rel=1e-6)


def test_below_the_floor_a_divergence_has_no_gradient(tiny: Callable[..., Tiny]) -> None:
    fit = tiny(Plain(), Poisson())
    head = fit.guide.encoder["user"].factors_head.raw_sd.bias
    with torch.no_grad():
        fit.guide.posterior["item"].mean.zero_()
        fit.guide.posterior["item"].sd.fill_(1e-9)  # the likelihood says nothing of users, so only KL has a gradient
    loss_of(fit, fit.batch("user"), FreeBitsELBO(50.0)).backward()
    assert float(head.grad.abs().max()) < 1e-6
    head.grad = None
    loss_of(fit, fit.batch("user"), FreeBitsELBO(0.0)).backward()
    assert float(head.grad.abs().max()) > 1e-3
