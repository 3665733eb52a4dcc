"""Simulated impressions follow their policy and the truth, and a policy's value is that of a long run."""

from __future__ import annotations

import numpy as np
import pytest

from pyrorec.simulation import FrailtyWorld, logged_impressions, policy_value, popularity_policy

TRUTH = FrailtyWorld(users=20, items=12, random_per_user=5, popularity_in_outcome=0.5, features=False).simulate(0).truth
POLICY = popularity_policy(TRUTH, 1.0, taste=0.5)


def test_impressions_follow_the_policy_and_their_clicks_the_truth() -> None:
    log = logged_impressions(TRUTH, POLICY, 200_000, seed=1)
    np.testing.assert_array_equal(log.propensity, POLICY[log.user, log.item])
    shown = np.zeros(POLICY.shape)
    np.add.at(shown, (log.user, log.item), 1)
    expected = 200_000 / len(POLICY) * POLICY
    assert ((shown - expected) ** 2 / expected).sum() < POLICY.size + 4 * np.sqrt(2 * POLICY.size), "chi-square"
    assert log.value.mean() == pytest.approx(policy_value(TRUTH, POLICY), abs=4 * log.value.std() / 200_000**0.5)


def test_popular_items_are_shown_more_and_taste_counts() -> None:
    popular = popularity_policy(TRUTH, 1.0)
    np.testing.assert_allclose(popular, np.tile(TRUTH.popularity / TRUTH.popularity.sum(), (len(popular), 1)))
    np.testing.assert_allclose(popularity_policy(TRUTH, 0.0), np.full(POLICY.shape, 1 / POLICY.shape[1]))
    odds = np.log(POLICY[:, 0] / POLICY[:, 1]) - np.log(TRUTH.popularity[0] / TRUTH.popularity[1])
    np.testing.assert_allclose(odds, 0.5 * (TRUTH.affinity[:, 0] - TRUTH.affinity[:, 1]), atol=1e-9)


def test_bad_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="has shape"):
        policy_value(TRUTH, POLICY[1:])
    with pytest.raises(ValueError, match="add up to one"):
        logged_impressions(TRUTH, 2 * POLICY, 10, seed=0)
