"""Logistic MF and the mixed model: gradient, recovery, shrinkage, calibration, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit
from simulated_clicks import ClickWorld

from pyrorec.baselines import LogisticMF, MixedLogistic, Train, Unfit
from pyrorec.baselines.logistic import Loss, Penalties, fit_logistic
from pyrorec.evaluation import auc, expected_calibration_error, log_loss, within_user_auc

SMALL = ClickWorld(users=7, items=5, factor_sd=1.0)


def test_the_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    log = SMALL.log(SMALL.shown_at_random(0.7, 0), 0)
    trials = rng.integers(1, 4, len(log)).astype(float)
    log = replace(log, value=rng.binomial(trials.astype(int), 0.4).astype(float), trials=trials)
    order = rng.permutation(len(log))  # cells need not be sorted
    loss = Loss(log.select(order), rng.uniform(0.2, 3.0, len(log)), Penalties(0.7, 1.3, 2.1), factors=2)
    at = rng.normal(size=1 + 12 * 3)
    np.testing.assert_allclose(loss(at)[1], approx_fprime(at, lambda x: loss(x)[0], 1e-7), rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_penalised_weighted_log_loss() -> None:
    log = SMALL.log(SMALL.shown_at_random(0.7, 0), 0)
    weight = np.linspace(0.5, 2.0, len(log))
    loss = Loss(log, weight, Penalties(0.7, 1.3, 2.1), factors=2)
    flat = np.random.default_rng(0).normal(size=1 + 12 * 3)
    at = loss.unpack(flat)
    p = expit(at.logits(log.user, log.item))
    np.testing.assert_allclose(at.surface(np.arange(7))[log.user, log.item], at.logits(log.user, log.item))
    misfit = -(weight * np.log(np.where(log.value > 0, p, 1 - p))).sum()
    squares = [(x**2).sum() for x in (at.user, at.item, at.user_factors, at.item_factors)]
    assert loss(flat)[0] == pytest.approx(misfit + (0.7 * squares[0] + 1.3 * squares[1] + 2.1 * sum(squares[2:])) / 2)


def test_biases_are_recovered_and_probabilities_calibrated() -> None:
    world = ClickWorld(users=400, items=80)
    train, test = (world.log(world.shown_at_random(0.5, seed), seed) for seed in (0, 1))
    fitted = LogisticMF(factors=0, folds=3).fit(Train(train))
    truth = world.logits()[test.user, test.item]
    p = fitted.probabilities(test.user, test.item)
    assert np.corrcoef(np.log(p / (1 - p)), truth)[0, 1] > 0.92
    assert expected_calibration_error(p, test.value, test.trials) < 0.02
    assert log_loss(p, test.value, test.trials) < log_loss(expit(truth), test.value, test.trials) + 0.02
    assert 0.7 <= fitted.penalties.item <= 2.0  # the world's precisions are 1 / .8^2 and 1
    np.testing.assert_allclose(fitted.scores(np.array([5, 2]))[1, 7], logit_of(fitted, 2, 7), rtol=1e-5)


def logit_of(fitted, user: int, item: int) -> float:  # type: ignore[no-untyped-def]
    """The logit of one pair by its probability."""
    (p,) = fitted.probabilities(np.array([user]), np.array([item]))
    return float(np.log(p / (1 - p)))


def test_factors_are_learnt_where_they_are_and_vanish_where_not() -> None:
    for sd, shrunk in ((0.0, True), (1.2, False)):
        world = ClickWorld(factor_sd=sd)
        train, test = (world.log(world.shown_at_random(0.5, seed), seed) for seed in (0, 1))
        fitted = LogisticMF(factors=2, folds=3).fit(Train(train))
        additive = LogisticMF(factors=0, folds=3).fit(Train(train))
        size = np.abs(fitted.coefficients.user_factors @ fitted.coefficients.item_factors.T).max()
        gain = np.subtract(*(within_user_auc(test.user, m.probabilities(test.user, test.item), test.value, test.trials)
                             for m in (fitted, additive)))  # fmt: skip
        assert (size < 0.01) == shrunk
        assert (abs(gain) < 0.005) if shrunk else (gain > 0.05)


def test_the_same_seed_gives_the_same_numbers_and_cells_shown_again_count_twice() -> None:
    world = ClickWorld(users=30, items=20, factor_sd=1.0)
    log = world.log(world.shown_at_random(0.6, 0), 0)
    users = np.arange(30)
    first, second = (LogisticMF(factors=2, folds=2, seed=3).fit(Train(log)).scores(users) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    twice = replace(log, value=2 * log.value, trials=2 * log.trials)
    weight, rng = np.ones(len(log)), np.random.default_rng(0)
    a, b = fit_logistic(twice, weight, Penalties(), 0, rng), fit_logistic(log, 2 * weight, Penalties(), 0, rng)
    np.testing.assert_allclose(a.surface(users), b.surface(users), atol=1e-8)


def test_the_mixed_model_learns_the_variances_and_is_calibrated() -> None:
    world = ClickWorld(users=400, items=300)
    train, test = (world.log(world.shown_at_random(0.3, seed), seed) for seed in (0, 1))
    fitted = MixedLogistic().fit(Train(train))
    assert fitted.penalties.user**-0.5 == pytest.approx(0.8, rel=0.15)
    assert fitted.penalties.item**-0.5 == pytest.approx(1.0, rel=0.15)
    p = fitted.probabilities(test.user, test.item)
    assert expected_calibration_error(p, test.value, test.trials) < 0.02
    assert auc(p, test.value, test.trials) == pytest.approx(
        auc(world.logits()[test.user, test.item], test.value, test.trials), abs=0.01
    )


def test_probabilities_of_the_mixed_model_are_averages_over_its_posterior() -> None:
    world = ClickWorld(users=20, items=15)
    fitted = MixedLogistic().fit(Train(world.log(world.shown_at_random(0.3, 0), 0)))
    user, item = np.array([3]), np.array([4])
    sd = np.sqrt(fitted.user_variance[3] + fitted.item_variance[4])
    draws = fitted.coefficients.logits(user, item) + sd * np.random.default_rng(0).normal(size=200_000)
    assert fitted.probabilities(user, item)[0] == pytest.approx(expit(draws).mean(), abs=4 * expit(draws).std() / 447)


@pytest.mark.parametrize("baseline", [LogisticMF(), MixedLogistic()])
@pytest.mark.parametrize(("value", "lacking"), [(1.0, "no true negatives"), (0.0, "no clicks")])
def test_a_log_of_one_outcome_is_refused(baseline: LogisticMF, value: float, lacking: str) -> None:
    log = SMALL.log(SMALL.shown_at_random(0.7, 0), 0)
    with pytest.raises(Unfit, match=rf"^{baseline.name} skipped: the log holds {lacking}, and it learns from both\.$"):
        baseline.fit(Train(replace(log, value=np.full(len(log), value))))


def test_settings_that_mean_nothing_are_refused() -> None:
    for build in (lambda: LogisticMF(folds=1), lambda: LogisticMF(factors=-1)):
        with pytest.raises(ValueError, match="at least 0 factors and 2 folds"):
            build()
    for build in (lambda: LogisticMF(user_grid=()), lambda: LogisticMF(factor_grid=(0.0,))):
        with pytest.raises(ValueError, match="must be positive"):
            build()
    with pytest.raises(ValueError, match="not positive"):
        Penalties(user=0.0)
    with pytest.raises(ValueError, match="at least one round"):
        MixedLogistic(rounds=0)
