"""Logs of a policy in a world whose truth is known, and what a policy is worth there."""

from __future__ import annotations

import numpy as np

from pyrorec.data import Apart, Interactions, Unobserved
from pyrorec.data.truth import Truth
from pyrorec.simulation.world import SECONDS, START


def logged_impressions(truth: Truth, policy: np.ndarray, records: int, seed: int) -> Interactions:
    """Impressions of uniformly drawn users to whom `policy` (users, items) shows one item each, with its propensity.

    The item of an impression is drawn from the user's row of the policy, the click from `truth.click_probability`.
    Users and items keep the truth's ids, records are in the order of their times. Raises ValueError for a policy of
    another shape or whose rows are no laws.
    """
    chances = _checked(truth, policy)
    rng = np.random.default_rng([seed, 29])
    user = rng.integers(len(truth.users), size=records)
    ends = chances.cumsum(axis=1)
    place = (ends[user] / ends[user, -1:] <= rng.random((records, 1))).sum(axis=1)
    item = np.minimum(place, len(truth.items) - 1)
    click = rng.random(records) < truth.click_probability[user, item]
    return Interactions(
        users=truth.users,
        items=truth.items,
        user=user,
        item=item,
        value=click.astype(np.float64),
        trials=np.ones(records),
        timestamp=START + np.sort(rng.integers(SECONDS, size=records)),
        propensity=chances[user, item],
        missing=Unobserved(),
        rule=Apart(),
    )


def policy_value(truth: Truth, policy: np.ndarray) -> float:
    """Clicks per impression of a policy (users, items), exactly: mean_u sum_i pi(i | u) P(click | u, i)."""
    return float((_checked(truth, policy) * truth.click_probability).sum(axis=1).mean())


def popularity_policy(truth: Truth, power: float = 1.0, taste: float = 0.0) -> np.ndarray:
    """A policy (users, items) in proportion to z_i^power exp(taste a_ui): both decide who sees what."""
    logits = power * np.log(truth.popularity) + taste * truth.affinity
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def _checked(truth: Truth, policy: np.ndarray) -> np.ndarray:
    shape = (len(truth.users), len(truth.items))
    if policy.shape != shape:
        raise ValueError(
            f"The policy has shape {policy.shape}; give one probability for each of {shape} users and items."
        )
    if (policy < 0).any() or not np.allclose(policy.sum(axis=1), 1):
        raise ValueError("A user's probabilities lie above zero and add up to one.")
    return policy
