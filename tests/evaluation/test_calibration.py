from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from torchmetrics.classification import BinaryCalibrationError

from pyrorec.evaluation import (
    best_intercept_shift,
    brier,
    calibration_metrics,
    expected_calibration_error,
    log_loss,
    reliability_table,
    shifted_log_loss,
)

P = np.array([0.2, 0.5, 0.9])
CLICKS = np.array([1, 0, 2])
TRIALS = np.array([4, 1, 2])


@pytest.fixture
def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    p = expit(rng.normal(-2, 1, 500))
    trials = rng.integers(1, 5, 500)
    return p, rng.binomial(trials, expit(logit(p) + 0.7)), trials


def test_log_loss_and_brier_by_hand() -> None:
    expected = -(np.log(0.2) + 3 * np.log(0.8) + np.log(0.5) + 2 * np.log(0.9)) / 7
    assert log_loss(P, CLICKS, TRIALS) == pytest.approx(expected, rel=1e-14)
    assert brier(P, CLICKS, TRIALS) == pytest.approx((0.64 + 3 * 0.04 + 0.25 + 2 * 0.01) / 7, rel=1e-14)


def test_repeated_trials_count_as_separate_cells(cells: tuple) -> None:
    p, clicks, trials = cells
    one_each = np.repeat(p, trials)
    outcomes = np.concatenate([np.r_[np.ones(c), np.zeros(t - c)] for c, t in zip(clicks, trials, strict=True)])
    once = np.ones(len(outcomes))
    for metric in (log_loss, shifted_log_loss, brier, expected_calibration_error):
        assert metric(p, clicks, trials) == pytest.approx(metric(one_each, outcomes, once), abs=1e-10)


def test_certainty_that_is_wrong_costs_infinity_and_certainty_that_is_right_nothing() -> None:
    assert log_loss([0.0, 1.0], [0, 1], [1, 1]) == 0
    assert shifted_log_loss([0.0, 1.0], [0, 1], [1, 1]) == 0
    assert log_loss([0.0, 0.5], [1, 0], [1, 1]) == np.inf
    assert shifted_log_loss([1.0, 0.5], [1, 1], [2, 2]) == np.inf


def test_shift_minimises_the_log_loss(cells: tuple) -> None:
    p, clicks, trials = cells
    searched = minimize_scalar(
        lambda shift: log_loss(expit(logit(p) + shift), clicks, trials), bracket=(-1, 1), tol=1e-12
    )
    assert best_intercept_shift(p, clicks, trials) == pytest.approx(searched.x, abs=1e-6)
    assert shifted_log_loss(p, clicks, trials) == pytest.approx(searched.fun, abs=1e-13)
    assert searched.fun < log_loss(p, clicks, trials) - 0.03


def test_shift_removes_exactly_the_base_rate(cells: tuple) -> None:
    p, clicks, trials = cells
    for moved in (-3.0, 8.0):
        shifted = expit(logit(p) + moved)
        assert shifted_log_loss(shifted, clicks, trials) == pytest.approx(shifted_log_loss(p, clicks, trials), abs=1e-9)
    # A constant prediction ends at the entropy of the observed rate.
    assert best_intercept_shift([0.5, 0.5], [1, 0], [3, 1]) == pytest.approx(logit(0.25))
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert shifted_log_loss([0.9, 0.9], [1, 0], [3, 1]) == pytest.approx(entropy)


def test_shift_to_a_single_outcome_is_infinite_and_free() -> None:
    assert best_intercept_shift([0.3, 0.6], [0, 0], [1, 2]) == -np.inf
    assert shifted_log_loss([0.3, 0.6], [0, 0], [1, 2]) == 0
    assert shifted_log_loss([0.0, 0.3], [0, 1], [1, 1]) == 0


def test_reliability_table_by_hand() -> None:
    table = reliability_table([0.1, 0.2, 0.6, 0.8], [0, 1, 0, 1], [1, 1, 1, 1], bins=2)
    expected = pd.DataFrame({"trials": [2, 2], "predicted": [0.15, 0.7], "observed": [0.5, 0.5]})
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    assert expected_calibration_error([0.1, 0.2, 0.6, 0.8], [0, 1, 0, 1], [1, 1, 1, 1], bins=2) == pytest.approx(
        (0.35 + 0.2) / 2
    )


def test_bins_hold_equal_counts_and_do_not_split_ties() -> None:
    rng = np.random.default_rng(3)
    ones = np.ones(1000)
    assert reliability_table(rng.random(1000), ones, ones).trials.tolist() == [100] * 10
    p = rng.choice([0.1, 0.2, 0.7], 1000)
    clicks = (rng.random(1000) < p).astype(float)
    table = reliability_table(p, clicks, ones)
    np.testing.assert_allclose(table.predicted, [0.1, 0.2, 0.7])
    by_value = [abs(clicks[p == v].mean() - v) * (p == v).mean() for v in (0.1, 0.2, 0.7)]
    assert expected_calibration_error(p, clicks, ones) == pytest.approx(sum(by_value))
    shuffled = rng.permutation(1000)
    again = reliability_table(p[shuffled], clicks[shuffled], ones)
    pd.testing.assert_frame_equal(table, again, rtol=1e-12)


def test_calibration_error_agrees_with_torchmetrics_where_equal_counts_are_equal_widths() -> None:
    rng = np.random.default_rng(4)
    p = ((np.arange(10)[:, None] + rng.uniform(0.01, 0.99, (10, 30))) / 10).ravel()
    clicks = (rng.random(300) < p**2).astype(int)
    theirs = BinaryCalibrationError(n_bins=10, norm="l1")(torch.from_numpy(p), torch.from_numpy(clicks))
    assert expected_calibration_error(p, clicks, np.ones(300)) == pytest.approx(theirs.item(), abs=1e-6)


def test_calibration_metrics_collects_all_six() -> None:
    metrics, reason = calibration_metrics([0, 0, 1], P, CLICKS, TRIALS)
    assert reason is None
    assert metrics["brier"] == pytest.approx(brier(P, CLICKS, TRIALS))
    # One of .2 loses to the zero of .5, ties three; two of .9 beat all four zeros: (1.5 + 8) / 12.
    assert metrics["auc"] == pytest.approx(9.5 / 12)
    # User 0 alone has both outcomes.
    assert metrics["within_user_auc"] == pytest.approx(1.5 / 4)


@pytest.mark.parametrize(
    ("clicks", "trials", "reason"),
    [([1, 2], [1, 2], "no explicit negatives"), ([0, 0], [0, 0], "no explicitly observed cells")],
)
def test_without_explicit_negatives_everything_is_nan_with_the_reason(
    clicks: list[int], trials: list[int], reason: str
) -> None:
    metrics, why = calibration_metrics([0, 1], [0.1, 0.2], clicks, trials)
    assert why is not None
    assert reason in why
    assert len(metrics) == 6
    assert all(np.isnan(value) for value in metrics.values())


def test_a_missing_auc_is_explained_and_the_rest_is_kept() -> None:
    metrics, why = calibration_metrics([0, 1], [0.1, 0.2], [0, 1], [1, 1])
    assert why is not None
    assert "No user has both" in why
    assert metrics["auc"] == 1
    metrics, why = calibration_metrics([0, 1], [0.1, 0.2], [0, 0], [1, 1])
    assert why is not None
    assert "No observed cell is a click" in why
    assert metrics["brier"] == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("p", "clicks", "trials", "message"),
    [
        ([0.5, 1.5], [0, 1], [1, 1], "between 0 and 1"),
        ([0.5, np.nan], [0, 1], [1, 1], "between 0 and 1"),
        ([0.5, 0.5], [0, 2], [1, 1], "more clicks than trials"),
        ([0.5], [0, 1], [1, 1], "one entry per cell"),
        ([], [], [], "no trials"),
    ],
)
def test_refuses_cells_that_cannot_be_right(p: list, clicks: list, trials: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log_loss(p, clicks, trials)
