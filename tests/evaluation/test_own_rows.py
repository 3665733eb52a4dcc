from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from pyrorec.evaluation import ndcg_within_users

LOG3 = np.log2(3)


def test_an_example_by_hand() -> None:
    """User 4 ranks click, zero, click; user 2 has one click at rank 3, beyond k; user 7 has none."""
    users = np.array([4, 2, 4, 2, 7, 4, 2])
    scores = np.array([0.2, 0.1, 3.0, 0.9, 1.0, 0.5, 0.3])
    clicks = np.array([1, 1, 1, 0, 0, 0, 0])
    assert ndcg_within_users(users, scores, clicks, 3) == pytest.approx((1.5 / (1 + 1 / LOG3) + 1 / 2) / 2)
    assert ndcg_within_users(users, scores, clicks, 2) == pytest.approx((1 / (1 + 1 / LOG3) + 0) / 2)


def test_ties_count_as_the_mean_over_their_orders() -> None:
    scores, clicks = np.array([2.0, 1.0, 1.0, 1.0, 0.0]), np.array([0, 1, 0, 1, 1])
    users = np.zeros(5)
    orders = [
        ndcg_within_users(users, scores + np.array([0, *shift, 0]), clicks, 3)
        for shift in permutations([-0.01, 0.0, 0.01])
    ]
    assert len(set(orders)) > 1
    assert ndcg_within_users(users, scores, clicks, 3) == pytest.approx(np.mean(orders))
    assert ndcg_within_users(users, scores[::-1], clicks[::-1], 3) == pytest.approx(np.mean(orders))


def test_the_best_order_is_one_and_lists_may_be_shorter_than_k() -> None:
    users, clicks = np.repeat([0, 1], [2, 6]), np.array([0, 1, 1, 1, 1, 1, 1, 0])
    assert ndcg_within_users(users, clicks, clicks, 5) == 1.0


def test_without_a_click_there_is_nothing_to_judge() -> None:
    assert np.isnan(ndcg_within_users([0, 1], [0.1, 0.2], [0, 0], 5))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        ndcg_within_users([0], [0.1], [1], 0)
    with pytest.raises(ValueError, match="NaN"):
        ndcg_within_users([0], [np.nan], [1], 5)
