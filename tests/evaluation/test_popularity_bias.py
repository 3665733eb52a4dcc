from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from pyrorec.evaluation import (
    average_long_tail_share,
    average_recommendation_popularity,
    gini,
    item_counts,
    item_coverage,
    long_tail,
    popularity_bias_metrics,
    popularity_lift,
)

COUNTS = np.array([3, 10, 1, 3, 0, 2])
RANKED = np.array([[1, 0], [1, 2], [2, -1], [-1, -1]])


def test_recommendation_popularity_is_a_mean_over_users_of_filled_places() -> None:
    assert average_recommendation_popularity(RANKED, COUNTS) == pytest.approx((6.5 + 5.5 + 1) / 3)


def test_short_head_is_the_top_fifth_of_the_items_seen_in_train() -> None:
    assert long_tail(COUNTS).tolist() == [True, False, True, True, True, True]
    # ceil(.4 x 5) = 2; items 0 and 3 are tied and the lower code is taken.
    assert long_tail(COUNTS, 0.4).tolist() == [False, False, True, True, True, True]
    assert average_long_tail_share(RANKED, COUNTS) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert average_long_tail_share(RANKED, COUNTS, 0.4) == pytest.approx((0 + 0.5 + 1) / 3)


def test_gini_agrees_with_the_mean_absolute_difference() -> None:
    rng = np.random.default_rng(5)
    ranked = rng.integers(0, 9, (20, 4))
    frequency = np.bincount(ranked.ravel(), minlength=12)
    pairs = np.abs(frequency[:, None] - frequency).mean()
    assert gini(ranked, 12) == pytest.approx(pairs / (2 * frequency.mean()))
    assert gini(np.array([[0, 1], [2, 3]]), 4) == 0
    assert gini(np.array([[0, -1], [0, -1]]), 4) == pytest.approx(1 - 1 / 4)


def test_coverage_counts_every_item_once_and_no_empty_place() -> None:
    assert item_coverage(RANKED, 6) == pytest.approx(3 / 6)


def test_lift_compares_lists_with_the_profiles_of_the_same_users() -> None:
    # Item counts 3, 2, 1 (the stored zero is no positive); profile means 2.5, 3, 2.
    cells = ([0, 0, 1, 2, 2, 2, 3], [0, 1, 0, 0, 1, 2, 2])
    train = csr_matrix(([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0], cells), shape=(4, 3))
    assert item_counts(train).tolist() == [3, 2, 1]
    users, ranked = np.array([1, 2, 3]), np.array([[1], [0], [0]])
    # User 3 has no profile: lists (2 + 3) / 2 against profiles (3 + 2) / 2.
    assert popularity_lift(ranked, users, train) == pytest.approx(0)
    assert popularity_lift(np.array([[0], [0]]), np.array([0, 2]), train) == pytest.approx(3 / 2.25 - 1)


def test_all_measures_are_given_for_each_length() -> None:
    train = csr_matrix([[1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=float)
    metrics = popularity_bias_metrics(np.array([[1, 2], [2, 1]]), np.array([1, 0]), train, at=(1, 2))
    assert metrics["arp@1"] == pytest.approx(1.5)
    assert metrics["arp@2"] == pytest.approx(1.5)
    assert metrics["aplt@2"] == 1
    assert metrics["item_coverage@1"] == pytest.approx(2 / 3)
    assert metrics["popularity_lift@1"] == pytest.approx(1.5 / 2.75 - 1)


def test_empty_lists_give_nan() -> None:
    empty = np.full((2, 3), -1)
    train = csr_matrix(np.eye(2, 4))
    values = popularity_bias_metrics(empty, np.array([0, 1]), train, at=(3,))
    assert values.drop("item_coverage@3").isna().all()
    assert values["item_coverage@3"] == 0
