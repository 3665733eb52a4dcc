from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pyrorec as pr
from pyrorec.baselines import Ease, TooManyItems, Train, ease


def log_of(cells: np.ndarray) -> pr.Interactions:
    """The cells of a dense matrix that are not zero."""
    user, item = cells.nonzero()
    users, items = (pd.RangeIndex(n) for n in cells.shape)
    value = cells[user, item].astype(float)
    return pr.Interactions(users=users, items=items, user=user, item=item, value=value, trials=np.ones(len(user)))


@pytest.fixture
def train() -> Train:
    """80 users, 30 items of uneven popularity; items 4 and 29 without a positive, values other than one."""
    rng = np.random.default_rng(6)
    cells = (rng.random((80, 30)) < 0.05 + 0.6 * rng.beta(1, 3, 30)) * rng.integers(1, 6, (80, 30)).astype(float)
    cells[:, [4, 29]] = 0
    return Train(log_of(cells))


def full_weights(train: Train, penalty: float) -> np.ndarray:
    """The published formula on all items, by a general dense inverse."""
    x = (train.positives.toarray() > 0).astype(float)
    p = np.linalg.inv(x.T @ x + penalty * np.eye(x.shape[1]))
    return np.eye(len(p)) - p / np.diag(p)


@pytest.mark.parametrize("block", [1024, 7])
def test_scores_agree_with_the_dense_formula(train: Train, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "BLOCK", block)
    users = np.array([5, 0, 79])
    scores = Ease(penalty=3.0).fit(train).scores(users)
    expected = (train.positives.toarray()[users] > 0) @ full_weights(train, 3.0)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=2e-6)
    np.testing.assert_array_equal(scores[:, [4, 29]], 0)


def test_single_precision_gives_the_same_weights(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    double = Ease(penalty=3.0).fit(train).weights
    monkeypatch.setattr(ease, "DOUBLE_PRECISION_UP_TO", 10)
    single = Ease(penalty=3.0).fit(train).weights
    assert not np.array_equal(single, double)
    np.testing.assert_allclose(single, double, atol=5e-6)


def test_each_column_is_the_ridge_regression_on_the_other_items(train: Train) -> None:
    scorer = Ease(penalty=2.0).fit(train)
    x = (train.positives.toarray()[:, scorer.items] > 0).astype(float)
    np.testing.assert_array_equal(np.diag(scorer.weights), 0)
    assert len(scorer.items) == 28
    for j in range(len(scorer.items)):
        others = np.delete(x, j, axis=1)
        stacked = np.vstack([others, np.sqrt(2.0) * np.eye(others.shape[1])])
        target = np.concatenate([x[:, j], np.zeros(others.shape[1])])
        solution = np.linalg.lstsq(stacked, target, rcond=None)[0]
        np.testing.assert_allclose(np.delete(scorer.weights[:, j], j), solution, atol=1e-6)


def test_items_without_users_do_not_count_towards_the_limit(train: Train) -> None:
    assert len(Ease(max_items=28).fit(train).items) == 28
    with pytest.raises(TooManyItems, match=r"^EASE skipped: 28 items, .* 27 at most\.$"):
        Ease(max_items=27).fit(train)


def test_more_than_twenty_thousand_items_are_refused_before_any_work() -> None:
    with pytest.raises(TooManyItems, match="20,001 items"):
        Ease().fit(Train(log_of(np.ones((1, 20_001)))))


def test_an_empty_log_scores_zero() -> None:
    scores = Ease().fit(Train(log_of(np.zeros((2, 3))))).scores(np.array([1]))
    np.testing.assert_array_equal(scores, [[0, 0, 0]])


@pytest.mark.parametrize("penalty", [0.0, -1.0, np.nan])
def test_a_penalty_that_is_not_positive_is_refused(penalty: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Ease(penalty=penalty)
