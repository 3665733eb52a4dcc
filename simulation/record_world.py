"""A log of impressions from the popularity model itself: records (user, item, click) with everything known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from pyrorec.data import Interactions, Trials, Unobserved
from pyrorec.models.families import Bernoulli, Family
from pyrorec.models.predictors import Additive, Predictor

SLOPES = (0.8, -0.5)


@dataclass(frozen=True, eq=False)
class SimulatedRecords:
    """The log, and log z of every item in the log's order, with its population's mean and sd."""

    log: Interactions
    log_popularity: np.ndarray
    mean_log: float
    sd_log: float


@dataclass(frozen=True)
class RecordWorld:
    """y ~ family(predictor(b0 + x_u . slopes, z_i)): `records` impressions of `items` items to `users` users.

    log z_i ~ N(-sd^2 / 2, `sd_log`), mean one. How often an item is shown is Poisson with a rate in proportion to
    z_i^`exposure_power`: at 1 exposure counts tell popularity, at 0 they tell nothing of it. A predictor on the log
    scale sees (log z - mean) / sd. User features x_u are standard normal, one column for each slope.
    """

    users: int = 2_000
    items: int = 200
    records: int = 200_000
    intercept: float = -1.0
    slopes: tuple[float, ...] = SLOPES
    sd_log: float = 0.8
    exposure_power: float = 1.0
    predictor: Predictor = field(default_factory=lambda: Additive(popularity_effect=0.7))
    family: Family = field(default_factory=Bernoulli)

    def simulate(self, seed: int) -> SimulatedRecords:
        """One draw; repeated pairs are one cell with their clicks and trials, and every item keeps its code."""
        rng = np.random.default_rng([seed, 23])
        log_z = self.log_popularity(rng)
        x = rng.standard_normal((self.users, len(self.slopes)))
        item = np.repeat(np.arange(self.items), rng.poisson(self.records / self.items * self._exposure(log_z)))
        user = rng.integers(self.users, size=len(item))
        affinity = self.intercept + x[user] @ np.asarray(self.slopes)
        log = self._log(user, item, self._values(affinity, log_z[item], rng), x)
        return SimulatedRecords(log, log_z, -0.5 * self.sd_log**2, self.sd_log)

    def log_popularity(self, rng: np.random.Generator) -> np.ndarray:
        """log z of every item."""
        return -0.5 * self.sd_log**2 + self.sd_log * rng.standard_normal(self.items)

    def _exposure(self, log_z: np.ndarray) -> np.ndarray:
        """Expected exposure of each item, in units of the mean item's."""
        power, variance = self.exposure_power, self.sd_log**2
        return np.exp(power * log_z - 0.5 * power * (power - 1) * variance)

    def _values(self, affinity: np.ndarray, log_z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        on_log = self.predictor.scale is not None and self.predictor.scale.name == "LOG"
        popularity = (log_z + 0.5 * self.sd_log**2) / self.sd_log if on_log else np.exp(log_z)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            drawn = self.predictor.sample(
                self.family, torch.ones(len(affinity)).double(), torch.as_tensor(affinity), torch.as_tensor(popularity)
            )
        return drawn.numpy()

    def _log(self, user: np.ndarray, item: np.ndarray, value: np.ndarray, x: np.ndarray) -> Interactions:
        flat, place = np.unique(user * self.items + item, return_inverse=True)
        users = pd.RangeIndex(self.users)
        features = pd.DataFrame(x, index=users, columns=[f"x{k}" for k in range(x.shape[1])])
        return Interactions(
            users=users,
            items=pd.RangeIndex(self.items),
            user=flat // self.items,
            item=flat % self.items,
            value=np.bincount(place, value),
            trials=np.bincount(place).astype(float),
            missing=Unobserved(),
            rule=Trials(),
            user_features=features,
        )
