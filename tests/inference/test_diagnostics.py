"""`diagnose`: every check says something, and says something else where something else is the case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from scipy import special, stats

import pyrorec as pr
from pyrorec.inference.diagnostics import (
    Finding,
    anchored,
    causal_limit,
    collapse,
    contraction,
    convergence,
    predictive_totals,
)
from pyrorec.simulation import FrailtyWorld
from pyrorec.simulation.world import Simulated

CHECKS = [
    "convergence",
    "collapse",
    "information",
    "popularity contraction",
    "popularity against counts",
    "predictive item totals",
    "debiasing",
]
QUIET = pr.Context(progress=False)


@pytest.fixture(scope="module")
def world() -> Simulated:
    return FrailtyWorld(users=60, items=30, mean_count=0.5).simulate(7)


@pytest.fixture(scope="module")
def run(world: Simulated) -> pr.Run:
    spec, short = pr.BilateralModel(factors=4, hidden=(8,)), pr.Training(epochs=20, finish_epochs=5)
    return pr.fit(spec, world.train, training=short, context=QUIET)


def verdicts(run: pr.Run) -> dict[str, str]:
    table = pr.diagnose(run)
    return dict(zip(table["check"], table["verdict"], strict=True))


def test_every_check_has_a_verdict_and_a_sentence(run: pr.Run) -> None:
    table = pr.diagnose(run)
    assert list(table.columns) == ["check", "verdict", "value", "finding"]
    assert list(table["check"]) == CHECKS
    assert table["verdict"].isin(["good", "doubtful", "bad"]).all()
    assert (table["finding"].str.len() > 20).all()
    assert np.isfinite(table["value"]).all()


def test_a_sound_fit_has_good_verdicts(run: pr.Run) -> None:
    found = verdicts(run)
    for check in ("collapse", "popularity contraction", "popularity against counts", "predictive item totals"):
        assert found[check] == "good"


def with_elbo(run: pr.Run, elbo: np.ndarray, looks: dict[int, float] | None = None) -> Finding:
    """The finding on a training whose epochs had this ELBO, and these validation scores by epoch from one."""
    metrics: list[dict[str, Any]] = [{"epoch": n, "elbo": float(e)} for n, e in enumerate(elbo)]
    for epoch, score in (looks or {}).items():
        metrics[epoch - 1]["validation"] = score
    return convergence(replace(run, metrics=metrics))


def test_an_untrained_run_has_not_converged(world: Simulated) -> None:
    spec = pr.BilateralModel(factors=4, hidden=(8,))
    run = pr.fit(spec, world.train, training=pr.Training(epochs=2, finish_epochs=0), context=QUIET)
    found = convergence(run)
    assert found.verdict == "doubtful"
    assert "only 2 epochs" in found.finding


def test_a_fit_stopped_while_it_climbs_is_bad(world: Simulated) -> None:
    spec = pr.BilateralModel(factors=4, hidden=(8,))
    slow = pr.Training(epochs=25, learning_rate=1e-3, anneal=False, finish_epochs=0, validation_fraction=0)
    run = pr.fit(spec, world.train, training=slow, context=QUIET)
    found = convergence(run)
    assert found.verdict == "bad"
    assert "train longer" in found.finding


@pytest.mark.parametrize(
    ("elbo", "verdict", "share"),
    [
        (-np.exp(-np.arange(100) / 5.0), "good", None),  # settled
        (np.arange(100) / 99, "bad", 10 / 99),  # a straight climb gains a tenth in the last tenth
        (np.minimum(np.arange(100), 85) / 85, "doubtful", (85 - np.minimum(np.arange(80, 90), 85).mean()) / 85),
        (np.r_[np.arange(90) / 89, np.full(10, 0.7)], "bad", None),  # fell apart at the end
    ],
)
def test_the_verdict_on_convergence_follows_the_last_tenth(
    run: pr.Run, elbo: np.ndarray, verdict: str, share: float | None
) -> None:
    found = with_elbo(run, elbo)
    assert found.verdict == verdict
    if share is not None:
        assert found.value == pytest.approx(share)


def test_the_epoch_named_is_the_first_of_the_best(run: pr.Run) -> None:
    """Training keeps an earlier epoch where a later one is no better."""
    found = with_elbo(run, -np.exp(-np.arange(30) / 5.0), {10: 0.3, 15: 0.5, 20: 0.5, 25: 0.4})
    assert "those of epoch 15," in found.finding


def test_the_epoch_named_is_none_of_the_warm_up(run: pr.Run) -> None:
    """Training never keeps an epoch at which the KL is still warming up (here the first five)."""
    assert run.training.kl_warmup == 5
    found = with_elbo(run, -np.exp(-np.arange(30) / 5.0), {5: 0.9, 10: 0.3, 15: 0.5, 20: 0.4})
    assert "those of epoch 15," in found.finding


def means(run: pr.Run, user: torch.Tensor, item: torch.Tensor) -> pr.Run:
    return replace(run, posterior=replace(run.posterior, user_mean=user, item_mean=item))


def test_a_collapsed_posterior_is_bad(run: pr.Run) -> None:
    p = run.posterior
    for user, item in (
        (torch.zeros_like(p.user_mean), torch.zeros_like(p.item_mean)),
        (p.user_mean, torch.zeros_like(p.item_mean)),
    ):
        found = collapse(means(run, user, item))
        assert (found.verdict, found.value) == ("bad", 0.0)
        assert "no interaction" in found.finding


@pytest.mark.parametrize(("active", "verdict"), [(1, "doubtful"), (2, "doubtful"), (3, "good"), (4, "good")])
def test_factors_in_use_are_counted(run: pr.Run, active: int, verdict: str) -> None:
    """In use: means with sd above a tenth of the prior's on both sides."""
    prior = run.spec.factor_scale
    sign = torch.tensor([1.0, -1.0])
    in_use = torch.where(torch.arange(4) < active, 0.11 * prior, 0.09 * prior)
    user, item = (sign.repeat(n // 2)[:, None] * in_use for n in (60, 30))
    found = collapse(means(run, user, item))
    assert (found.verdict, found.value) == (verdict, active / 4)


def with_popularity(run: pr.Run, law: dist.TorchDistribution) -> pr.Run:
    return replace(run, posterior=replace(run.posterior, item_effect=replace(run.posterior.item_effect, law=law)))


def test_contraction_compares_variances_of_log_popularity(run: pr.Run) -> None:
    shape = torch.linspace(1.5, 30, run.log.n_items)
    alpha = float(run.posterior.population.concentration)  # type: ignore[union-attr]
    found = contraction(with_popularity(run, dist.Gamma(shape, shape)))
    expected = 1 - special.polygamma(1, shape.double().numpy()).mean() / special.polygamma(1, alpha)
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert found.verdict == "good"


def test_a_log_that_says_nothing_of_popularity_is_doubtful(run: pr.Run) -> None:
    population = run.posterior.population
    assert isinstance(population, dist.Gamma)
    found = contraction(with_popularity(run, population.expand((run.log.n_items,))))
    assert found.verdict == "doubtful"
    assert found.value == pytest.approx(0, abs=1e-5)


def test_popularity_is_compared_with_totals(run: pr.Run) -> None:
    law = run.posterior.popularity
    assert isinstance(law, dist.Gamma)
    totals = run.log.to_frame().groupby("item_id")["value"].sum()[run.log.items]
    expected = stats.spearmanr(law.mean.numpy(), totals)[0]
    assert anchored(run).value == pytest.approx(expected)
    mixed = with_popularity(run, dist.Gamma(law.concentration.flip(0), law.rate.flip(0)))
    assert anchored(mixed).verdict == "doubtful"
    assert anchored(mixed).value < 0.7


def test_popularity_is_compared_with_mean_values_where_absent_cells_say_nothing(run: pr.Run) -> None:
    law = run.posterior.popularity
    assert isinstance(law, dist.Gamma)
    frame = run.log.to_frame()
    rate = (frame.groupby("item_id")["value"].sum() / frame.groupby("item_id")["trials"].sum())[run.log.items]
    found = anchored(replace(run, log=run.log.with_missing(pr.Unobserved())))
    assert found.value == pytest.approx(stats.spearmanr(law.mean.numpy(), rate)[0])
    assert "mean values" in found.finding


def test_a_model_without_popularity_has_nothing_to_check_there(world: Simulated) -> None:
    spec = pr.BilateralModel(factors=2, predictor=pr.Plain(), hidden=(4,))
    run = pr.fit(spec, world.train, training=pr.Training(epochs=1, finish_epochs=1), context=QUIET)
    for found in (contraction(run), anchored(run)):
        assert (found.verdict, found.finding) == ("good", "the model holds no popularity")


def overdispersed(users: int, items: int, shape: float, mean: float) -> pr.Interactions:
    """Counts Poisson(rate g), g ~ Gamma(shape, shape) anew in every cell: a variance far above the mean."""
    rng = np.random.default_rng(0)
    rate = mean * rng.gamma(1, 1, users)[:, None] * rng.gamma(2, 0.5, items)
    count = rng.poisson(rate * rng.gamma(shape, 1 / shape, rate.shape))
    user, item = np.nonzero(count)
    return pr.read_interactions(pd.DataFrame({"user_id": user, "item_id": item, "value": count[user, item]}))


def test_counts_of_an_overdispersed_law_are_not_good() -> None:
    """The variance of a cell of rate 2 is about 70 times what the family says."""
    spec, short = pr.BilateralModel(factors=2, hidden=(8,)), pr.Training(epochs=12, finish_epochs=3)
    run = pr.fit(spec, overdispersed(80, 30, 0.03, 2.0), training=short, context=QUIET)
    found = predictive_totals(run)
    assert found.verdict != "good"
    assert "does not describe the spread" in found.finding


def test_predictive_totals_far_from_the_log_are_bad(run: pr.Run) -> None:
    """Popularity ten times what it was: no total is where it is predicted."""
    law = run.posterior.popularity
    assert isinstance(law, dist.Gamma)
    found = predictive_totals(with_popularity(run, dist.Gamma(law.concentration, law.rate / 10)))
    assert found.verdict == "bad"
    assert found.value < 0.3


def test_only_a_randomly_exposed_part_lets_debiasing_be_checked(run: pr.Run) -> None:
    assert causal_limit(run).verdict == "doubtful"
    assert causal_limit(replace(run, log=replace(run.log, exposure=None))).verdict == "doubtful"
    exposure = np.array(["random", *["biased"] * (len(run.log) - 1)])
    assert causal_limit(replace(run, log=replace(run.log, exposure=exposure))).verdict == "good"


def test_weighted_zeros_cannot_be_judged_and_are_not_called_bad(world: Simulated) -> None:
    """No process generates a tenth of a cell; replicating them as whole ones would expect far too many events."""
    once = pr.Training(epochs=3, finish_epochs=1)
    log = world.train.with_missing(pr.Weighted(0.1))
    run = pr.fit(pr.BilateralModel(factors=2), log, training=once, context=pr.Context(progress=False))
    found = pr.diagnose(run).set_index("check").loc["predictive item totals"]
    assert found.verdict == "doubtful"
    assert np.isnan(found.value)
    assert "weight 0.1" in found.finding
    assert "--binarise" not in found.finding
