from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryAUROC

from pyrorec.evaluation import auc, within_user_auc


def brute_force(scores: np.ndarray, clicks: np.ndarray, trials: np.ndarray) -> float:
    """Compare every one with every zero, cell by cell."""
    ones, zeros = clicks, trials - clicks
    wins = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    return float(ones @ wins @ zeros / (ones.sum() * zeros.sum()))


@pytest.fixture
def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    trials = rng.integers(0, 4, 300)
    return rng.integers(0, 20, 300), rng.integers(0, 15, 300) / 15, rng.binomial(trials, 0.4), trials


def test_auc_agrees_with_brute_force_with_ties_and_repeated_trials(cells: tuple) -> None:
    _, scores, clicks, trials = cells
    assert auc(scores, clicks, trials) == pytest.approx(brute_force(scores, clicks, trials), abs=1e-12)


def test_auc_agrees_with_torchmetrics(cells: tuple) -> None:
    _, scores, clicks, trials = cells
    target = np.concatenate([np.repeat(1, clicks.sum()), np.repeat(0, (trials - clicks).sum())])
    preds = np.concatenate([np.repeat(scores, clicks), np.repeat(scores, trials - clicks)])
    theirs = BinaryAUROC()(torch.from_numpy(preds), torch.from_numpy(target))
    assert auc(scores, clicks, trials) == pytest.approx(theirs.item(), abs=1e-6)


def test_within_user_auc_is_the_plain_mean_over_users_with_both_outcomes(cells: tuple) -> None:
    users, scores, clicks, trials = cells
    clicks = np.where(users == 3, 0, clicks)
    per_user = [
        brute_force(scores[users == u], clicks[users == u], trials[users == u])
        for u in range(20)
        if 0 < clicks[users == u].sum() < trials[users == u].sum()
    ]
    assert len(per_user) < 20
    assert within_user_auc(users, scores, clicks, trials) == pytest.approx(np.mean(per_user), abs=1e-12)


def test_within_user_auc_ignores_differences_between_users() -> None:
    users, clicks, trials = [0, 0, 1, 1], [1, 0, 1, 0], [1, 1, 1, 1]
    assert within_user_auc(users, [0.2, 0.1, 0.9, 0.8], clicks, trials) == 1
    assert auc([0.2, 0.1, 0.9, 0.8], clicks, trials) == 0.75


def test_infinite_scores_are_tied_with_each_other() -> None:
    assert auc([-np.inf, -np.inf, 1.0], [1, 0, 1], [1, 1, 1]) == pytest.approx(0.75)


@pytest.mark.parametrize("clicks", [[0, 0], [1, 1]])
def test_a_single_outcome_gives_nan(clicks: list[int]) -> None:
    assert np.isnan(auc([0.1, 0.2], clicks, [1, 1]))
    assert np.isnan(within_user_auc([0, 1], [0.1, 0.2], [0, 1], [1, 1]))


def test_no_cells_give_nan() -> None:
    assert np.isnan(auc([], [], []))


def test_nan_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        auc([0.1, np.nan], [0, 1], [1, 1])
