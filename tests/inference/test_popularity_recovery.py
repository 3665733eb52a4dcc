"""The popularity model on 20,000 impressions of a world of its own: what is learned is the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_popularity import fitted

from pyrorec.data import encode_features
from pyrorec.inference.empirical_bayes import GammaPoissonML, exposure_counts
from pyrorec.inference.objective import Expected
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Training
from pyrorec.models.affinities import Linear
from pyrorec.models.popularity import Popularity, PopularityModel
from pyrorec.models.prior_source import ExposureCounts
from pyrorec.simulation.record_world import RecordWorld, SimulatedRecords

WORLD = RecordWorld(users=400, items=100, records=20_000)
TRAINING = Training(objective=Expected(), epochs=40, learning_rate=0.05, validation_fraction=0.0, batch_size=4_000)


@pytest.fixture(scope="module")
def world() -> SimulatedRecords:
    return WORLD.simulate(0)


@pytest.fixture(scope="module")
def run(world: SimulatedRecords) -> Run:
    """Popularity from the exposure counts, on a model that also allows users and items effects of their own."""
    return fitted(PopularityModel(affinity=Linear(), source=ExposureCounts()), world.log, TRAINING)


def standard_errors(world: SimulatedRecords) -> np.ndarray:
    """Of intercept, slopes and gamma in the logistic regression that knows zeta: the inverse Fisher information."""
    log = world.log
    assert log.user_features is not None
    zeta = (world.log_popularity - world.mean_log) / world.sd_log
    x = np.c_[np.ones(len(log)), log.user_features.to_numpy()[log.user], zeta[log.item]]
    truth = np.array([WORLD.intercept, *WORLD.slopes, float(WORLD.predictor.popularity_effect)])  # type: ignore[attr-defined]
    p = 1 / (1 + np.exp(-x @ truth))
    errors: np.ndarray = np.sqrt(np.diag(np.linalg.inv((x * (log.trials * p * (1 - p))[:, None]).T @ x)))
    return errors


def test_intercept_slopes_and_gamma_lie_within_four_standard_errors(world: SimulatedRecords, run: Run) -> None:
    """On the world's scale: the model's zeta is standardised by what the counts say of the population (maths 2.2)."""
    model, log = run.model, world.log
    assert isinstance(model, Popularity)
    assert log.user_features is not None
    rows = encode_features(log.user_features, log.users).values.astype(np.float64)
    # The encoding of each column is affine: x = (raw - mean) / sd.
    raw = log.user_features.to_numpy()
    sd, mean = raw.std(0) / rows.std(0), raw.mean(0) - rows.mean(0) * raw.std(0) / rows.std(0)
    weights = run.guide.laws()["user_weights"].mean.detach().numpy()  # type: ignore[union-attr, operator]
    slopes = weights / sd
    gamma = float(run.posterior.item_effect.predictor.popularity_effect)  # type: ignore[attr-defined]
    standard = GammaPoissonML().fit(exposure_counts(log)).standardised()
    per_log = gamma / standard.scale
    # Counts have the mean of the shown items as unit; log z of the world is log of the unit rate plus that of the mean.
    unit = math.log(np.bincount(log.item, log.trials, log.n_items).mean() / (WORLD.records / WORLD.items))
    centre = rows.mean(0) * sd + mean
    effects = [run.guide.laws()[site].mean.detach().mean() for site in ("user_effect", "item_effect")]  # type: ignore[union-attr, operator]
    intercept = float(run.posterior.intercept) + float(sum(effects)) - slopes @ centre
    intercept += per_log * (world.mean_log - unit - standard.location)
    found = np.array([intercept, *slopes, per_log * world.sd_log])
    truth = np.array([WORLD.intercept, *WORLD.slopes, 0.7])
    errors = standard_errors(world)
    assert errors.max() < 0.05
    np.testing.assert_array_less(np.abs(found - truth) / errors, 4.0)


def test_popularity_of_every_item_is_found(world: SimulatedRecords, run: Run) -> None:
    law = run.posterior.popularity
    assert law is not None
    assert np.corrcoef(law.mean.numpy(), world.log_popularity)[0, 1] > 0.97


def test_predictions_are_calibrated_and_adjusted_ones_follow_taste(world: SimulatedRecords, run: Run) -> None:
    """Clicks by fifths of the prediction, within four standard errors; deconfounded scores ignore popularity."""
    log = world.log
    p = run.score(log.to_frame()[["user_id", "item_id"]])["mean"].to_numpy()
    fifth = np.searchsorted(np.quantile(p, [0.2, 0.4, 0.6, 0.8]), p)
    for number in range(5):
        inside = fifth == number
        trials = log.trials[inside]
        error = math.sqrt((trials * p[inside] * (1 - p[inside])).sum())
        assert abs((log.value[inside] - trials * p[inside]).sum()) < 4 * error, number
    affinity = run.posterior.linear_mean(torch.arange(log.n_users)).numpy()
    popular = np.corrcoef(affinity.mean(0), world.log_popularity)[0, 1]
    assert affinity.mean(0).std() < 0.15, "no item quality was simulated, and little is found"
    assert abs(popular) < 0.9
