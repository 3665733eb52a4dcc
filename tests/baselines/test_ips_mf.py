"""Inverse propensities: their weights, and that they correct an exposure which depends on taste."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from simulated_clicks import ClickWorld

import pyrorec as pr
from pyrorec.baselines import IpsMF, LogisticMF, PopularityIpsMF, Train, Unfit
from pyrorec.baselines.ips_mf import clipped_weights
from pyrorec.evaluation import expected_calibration_error, log_loss

FIXED = {"factors": 0, "folds": 3}


def self_selected(world: ClickWorld, seed: int) -> pr.Interactions:
    """A log in which people come across what they like, with the true propensities."""
    chance = np.clip(expit(1.5 * world.logits()), 0.05, 1.0)
    shown = np.random.default_rng([9, seed]).random(chance.shape) < chance
    log = world.log(shown, seed)
    return replace(log, propensity=chance[log.user, log.item])


def test_propensities_correct_a_log_of_self_selected_items() -> None:
    world = ClickWorld(users=500, items=80, item_sd=0.5, factor_sd=0.8)
    train = self_selected(world, 0)
    test = world.log(world.shown_at_random(0.3, 1), 1)
    assert train.value.mean() > test.value.mean() + 0.1
    p = {b.name: b.fit(Train(train)).probabilities(test.user, test.item) for b in (LogisticMF(**FIXED), IpsMF(**FIXED))}
    ece = {name: expected_calibration_error(found, test.value, test.trials) for name, found in p.items()}
    loss = {name: log_loss(found, test.value, test.trials) for name, found in p.items()}
    assert ece["logistic MF"] > 0.05
    assert ece["IPS-MF"] < 0.4 * ece["logistic MF"]
    assert loss["IPS-MF"] < loss["logistic MF"] - 0.005


def test_equal_propensities_change_nothing() -> None:
    world = ClickWorld(users=40, items=20)
    log = world.log(world.shown_at_random(0.5, 0), 0)
    log = replace(log, propensity=np.full(len(log), 0.01))
    users = np.arange(40)
    same = [
        b.fit(Train(log)).scores(users)
        for b in (LogisticMF(**FIXED), IpsMF(**FIXED), PopularityIpsMF(power=0.0, **FIXED))
    ]
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[2])


def test_weights_are_clipped_at_a_multiple_of_their_mean_and_average_to_one() -> None:
    trials = np.array([1.0, 3.0, 1.0])
    weights = clipped_weights(np.array([0.5, 0.5, 0.02]), trials, largest=3.0)
    inverse = np.array([2.0, 2.0, 3.0 * (2 * 4 + 50) / 5])
    np.testing.assert_allclose(weights, inverse / ((inverse * trials).sum() / 5))
    assert np.average(weights, weights=trials) == pytest.approx(1.0)
    np.testing.assert_allclose(clipped_weights(np.array([0.05, 0.2]), np.ones(2), 20.0), [1.6, 0.4])


def test_popularity_propensities_are_powers_of_the_trials_of_an_item() -> None:
    log = pr.Interactions(
        users=pd.RangeIndex(2),
        items=pd.RangeIndex(2),
        user=np.array([0, 1, 1]),
        item=np.array([0, 0, 1]),
        value=np.array([1.0, 0.0, 1.0]),
        trials=np.array([3.0, 5.0, 2.0]),
    )
    np.testing.assert_allclose(PopularityIpsMF(power=0.5).propensities(log), np.sqrt([8, 8, 2]))


def test_refusals_say_what_to_do() -> None:
    world = ClickWorld(users=10, items=8)
    with pytest.raises(Unfit, match=r"^IPS-MF skipped: the log has no propensities; PopularityIpsMF"):
        IpsMF().fit(Train(world.log(world.shown_at_random(0.5, 0), 0)))
    with pytest.raises(ValueError, match=r"largest_weight of IPS-MF is 0\.5"):
        IpsMF(largest_weight=0.5)


def test_evaluate_judges_their_calibration_and_notes_those_that_do_not_fit() -> None:
    world = ClickWorld(users=60, items=30)
    train, test = (world.log(world.shown_at_random(0.4, seed), seed) for seed in (0, 1))
    spec = pr.BilateralModel(factors=1, family=pr.Bernoulli(), predictor=pr.Additive(), hidden=(2,))
    short = pr.Training(epochs=1, finish_epochs=1)
    run = pr.fit(spec, train.with_missing(pr.Unobserved()), training=short, context=pr.Context(progress=False))
    table = pr.evaluate(run, test, at=5, interventions={}, baselines=(pr.Popularity(), LogisticMF(**FIXED), IpsMF()))
    assert list(table.index) == ["popularity", "logistic MF"]
    p = LogisticMF(**FIXED).fit(Train(train)).probabilities(test.user, test.item)
    assert table.loc["logistic MF", "log_loss"] == pytest.approx(log_loss(p, test.value, test.trials))
    assert np.isnan(table.loc["popularity", "log_loss"])
    assert any(note.startswith("IPS-MF skipped") for note in table.attrs["notes"])
