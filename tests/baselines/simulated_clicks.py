"""Clicks of a logistic world, as the tests of the logistic baselines need them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

import pyrorec as pr


@dataclass(frozen=True)
class ClickWorld:
    """Logits of a click: intercept + user sd x normal + item sd x normal + factors of that sd."""

    users: int = 200
    items: int = 60
    intercept: float = -1.0
    user_sd: float = 0.8
    item_sd: float = 1.0
    factor_sd: float = 0.0
    seed: int = 0

    def logits(self) -> np.ndarray:
        """True logits (users, items)."""
        rng = np.random.default_rng([self.seed, 1])
        user, item = self.user_sd * rng.normal(size=self.users), self.item_sd * rng.normal(size=self.items)
        p, q = (self.factor_sd * rng.normal(size=(n, 2)) for n in (self.users, self.items))
        return self.intercept + user[:, None] + item + p @ q.T

    def log(self, shown: np.ndarray, seed: int) -> pr.Interactions:
        """Clicks on the cells shown: each is clicked with its true probability."""
        user, item = shown.nonzero()
        clicked = np.random.default_rng([self.seed, 2, seed]).random(len(user)) < expit(self.logits()[user, item])
        ids = {"users": pd.RangeIndex(self.users), "items": pd.RangeIndex(self.items)}
        return pr.Interactions(user=user, item=item, value=clicked.astype(float), trials=np.ones(len(user)), **ids)

    def shown_at_random(self, share: float, seed: int) -> np.ndarray:
        """Which cells are shown (users, items) where each is with the same probability."""
        return np.random.default_rng([self.seed, 3, seed]).random((self.users, self.items)) < share
