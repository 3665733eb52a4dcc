"""The world of records: what it draws is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pyrorec.data import Trials, Unobserved
from pyrorec.models.families import Cloglog, Poisson
from pyrorec.models.predictors import LogAdditive, Odds, Predictor
from pyrorec.simulation.record_world import RecordWorld


def test_the_same_seed_draws_the_same_log() -> None:
    world = RecordWorld(users=50, items=20, records=1_000)
    first, again, other = world.simulate(3), world.simulate(3), world.simulate(4)
    for name in ("user", "item", "value", "trials"):
        assert np.array_equal(getattr(first.log, name), getattr(again.log, name))
    assert np.array_equal(first.log_popularity, again.log_popularity)
    assert not np.array_equal(first.log_popularity, other.log_popularity)


def test_impressions_are_poisson_with_rates_in_proportion_to_popularity() -> None:
    """Chi-squared of the counts given z, and the moments of log z, within four standard errors."""
    world = RecordWorld(users=300, items=400, records=20_000)
    drawn = world.simulate(1)
    shown = np.bincount(drawn.log.item, drawn.log.trials, 400)
    rate = 50 * np.exp(drawn.log_popularity)
    chi = ((shown - rate) ** 2 / rate).sum()
    assert abs(chi - 400) < 4 * math.sqrt(2 * 400 + (1 / rate).sum())
    assert abs(drawn.log_popularity.mean() - drawn.mean_log) < 4 * 0.8 / math.sqrt(400)
    assert abs(drawn.log_popularity.std() - 0.8) < 4 * 0.8 / math.sqrt(800)
    assert (drawn.mean_log, drawn.sd_log) == pytest.approx((-0.32, 0.8))


@pytest.mark.parametrize(
    "predictor_", [RecordWorld().predictor, LogAdditive(), Odds()], ids=lambda predictor: predictor.name
)
def test_clicks_follow_predictor_and_family(predictor_: Predictor) -> None:
    """Observed against expected clicks, item by item and in all."""
    family = Cloglog() if isinstance(predictor_, LogAdditive) else RecordWorld().family
    world = RecordWorld(users=200, items=50, records=20_000, predictor=predictor_, family=family)
    drawn = world.simulate(2)
    log = drawn.log
    assert isinstance(log.missing, Unobserved)
    assert isinstance(log.rule, Trials)
    assert log.user_features is not None
    assert bool(((log.value >= 0) & (log.value <= log.trials)).all())
    eta = -1.0 + log.user_features.to_numpy()[log.user] @ np.array([0.8, -0.5])
    log_z = drawn.log_popularity[log.item]
    if isinstance(predictor_, LogAdditive):
        p = -np.expm1(-np.exp(eta + log_z))
    else:
        offset = log_z if isinstance(predictor_, Odds) else 0.7 * (log_z + 0.32) / 0.8
        p = 1 / (1 + np.exp(-eta - offset))
    variance = log.trials * p * (1 - p)
    assert abs((log.value - log.trials * p).sum()) < 4 * math.sqrt(variance.sum())
    residual = np.bincount(log.item, log.value - log.trials * p, 50) / np.sqrt(np.bincount(log.item, variance, 50))
    assert np.abs(residual).max() < 4.5


def test_counts_add_up_in_a_repeated_pair() -> None:
    drawn = RecordWorld(users=20, items=10, records=2_000, predictor=LogAdditive(), family=Poisson()).simulate(0)
    log = drawn.log
    assert len(np.unique(log.user * 10 + log.item)) == len(log)
    assert log.trials.max() > 5
    assert log.value.max() > log.trials.max(), "counts, not clicks"
