"""Mixed logistic model: random effects of users and items, their variances by empirical Bayes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from pyrorec.baselines.base import Baseline, ClickScorer, Items, ItemScores, Probabilities, Users
from pyrorec.baselines.logistic import Array, Coefficients, Penalties, fit_logistic
from pyrorec.baselines.logistic_mf import judged_cells
from pyrorec.baselines.train import Train
from pyrorec.data import Interactions

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(20)
SETTLED = 1e-3


@dataclass(frozen=True)
class MixedScorer(ClickScorer):
    """Posterior modes in `coefficients`, posterior variances `user_variance` (users,) and `item_variance` (items,).

    Scores are logits at the mode; probabilities average over the posterior, normal and independent across effects.
    """

    coefficients: Coefficients
    user_variance: Array
    item_variance: Array
    penalties: Penalties

    def scores(self, users: Users) -> ItemScores:
        return self.coefficients.surface(users).astype(np.float32)

    def probabilities(self, users: Users, items: Items) -> Probabilities:
        mean = self.coefficients.logits(users, items)
        sd = np.sqrt(self.user_variance[users] + self.item_variance[items])
        total = sum(w * expit(mean + sd * node) for node, w in zip(NODES, NODE_WEIGHTS, strict=True))
        return np.asarray(total / NODE_WEIGHTS.sum())


@dataclass(frozen=True)
class MixedLogistic(Baseline):
    """logit P(click | shown) = intercept + a_u + b_i, a_u ~ N(0, s_a^2), b_i ~ N(0, s_b^2), both sds learnt.

    EM with a Laplace approximation around the joint mode: s^2 becomes the mean over effects of mode^2 + posterior
    variance, until the penalties 1 / s^2 move by less than a thousandth or `rounds` are over. The posterior
    variance is the inverse of the Hessian's diagonal. `fit` raises Unfit for a log without both clicks and true
    negatives.
    """

    name: ClassVar[str] = "mixed logistic"

    rounds: int = 50

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"{self.name} takes at least one round, not {self.rounds}.")

    def fit(self, train: Train) -> MixedScorer:
        clicks = judged_cells(train, self.name)
        found = mode_and_variance(clicks, Penalties())
        for _ in range(self.rounds):
            before = found.penalties
            found = mode_and_variance(clicks, updated(found))
            moved = np.log([found.penalties.user / before.user, found.penalties.item / before.item])
            if np.abs(moved).max() < SETTLED:
                break
        return found


def mode_and_variance(clicks: Interactions, penalties: Penalties) -> MixedScorer:
    """The joint mode under these penalties, with 1 / (penalty + sum of trials p (1 - p)) as variance of each effect."""
    at = fit_logistic(clicks, np.ones(len(clicks)), penalties, 0, np.random.default_rng(0))
    p = expit(at.logits(clicks.user, clicks.item))
    curvature = clicks.trials * p * (1 - p)
    user = np.bincount(clicks.user, weights=curvature, minlength=clicks.n_users)
    item = np.bincount(clicks.item, weights=curvature, minlength=clicks.n_items)
    return MixedScorer(at, 1 / (penalties.user + user), 1 / (penalties.item + item), penalties)


def updated(found: MixedScorer) -> Penalties:
    """The penalties 1 / s^2 of the next round."""
    at = found.coefficients
    user, item = np.mean(at.user**2 + found.user_variance), np.mean(at.item**2 + found.item_variance)
    return Penalties(user=float(1 / user), item=float(1 / item))
