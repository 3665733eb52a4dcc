"""The frailty world: a confounded log of counts, a randomly exposed test part, and the truth behind both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import polygamma

from pyrorec.data import Interactions, Sum, Trials, Unobserved, Zero
from pyrorec.data.truth import Scalars, Truth
from pyrorec.simulation.features import ITEM_COLUMNS, USER_COLUMNS, draw_side

#: Events fall in the 60 days from 1 January 2024 (unix seconds), random impressions in the later half.
START = 1_704_067_200
SECONDS = 60 * 24 * 60 * 60

AT_LEAST = {"users": 2, "items": 2, "factors": 1, "random_per_user": 0, "affinity_sd": 0.0, "quality_sd": 0.0}
POSITIVE = ("popularity_shape", "activity_shape", "mean_count", "random_rate")


@dataclass(frozen=True)
class Simulated:
    """A confounded log, its randomly exposed judge with the same ids and codes, and the truth behind them."""

    train: Interactions
    test: Interactions
    truth: Truth

    def clicks(self) -> Simulated:
        """The same world seen through clicks: each logged cell is 1, absent cells stay zeros."""
        return replace(self, train=self.train.binarised())


@dataclass(frozen=True)
class FrailtyWorld:
    """Hyper-parameters of `y_ui ~ Poisson(w_u z_i exp(b0 + a_ui))` with z ~ Gamma(alpha, rate alpha).

    affinity_sd: standard deviation of theta_u . beta_i over all pairs. popularity_shape, activity_shape: the
    shapes alpha of z and w, both of mean 1. mean_count: mean of the counts at z = w = 1, which sets b0.
    random_per_user: impressions drawn uniformly per user, whose click has the probability
    1 - exp(-random_rate z_i^popularity_in_outcome e^a_ui), so by default taste alone decides. quality_sd,
    quality_correlation: of an item quality that adds to a_ui for all users, and its correlation with log z_i.
    features: whether feature tables are attached; feature_share: how much of the variance of the factors they
    explain. Raises ValueError for values out of range.
    """

    users: int = 400
    items: int = 200
    factors: int = 4
    affinity_sd: float = 1.0
    popularity_shape: float = 1.0
    activity_shape: float = 2.0
    mean_count: float = 0.25
    random_per_user: int = 20
    random_rate: float = 0.3
    popularity_in_outcome: float = 0.0
    quality_sd: float = 0.0
    quality_correlation: float = 0.0
    features: bool = True
    feature_share: float = 0.5

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            _require(getattr(self, name) >= least, f"{name} must be at least {least}")
        for name in POSITIVE:
            _require(getattr(self, name) > 0.0, f"{name} must be positive")
        _require(0.0 <= self.feature_share <= 1.0, "feature_share must lie between 0 and 1")
        _require(abs(self.quality_correlation) <= 1.0, "quality_correlation must lie between -1 and 1")
        _require(
            self.quality_correlation == 0.0 or self.quality_sd > 0.0,
            "a quality_correlation needs a positive quality_sd",
        )
        _require(self.random_per_user <= self.items, "random_per_user cannot exceed the number of items")

    def simulate(self, seed: int) -> Simulated:
        """One draw of the world; the parts have random streams of their own, keyed by `seed`.

        Users and items without any logged event are dropped from everything, and random impressions are of
        the items that remain. Dense (users, items) arrays are held in memory. Raises ValueError where fewer
        than two users or items remain.
        """
        streams = [np.random.default_rng(key) for key in np.random.SeedSequence(seed).spawn(5)]
        truth, user_features, item_features = self._draw_truth(streams[0], streams[1], streams[2])
        count = streams[3].poisson(truth.expected_count)
        user, item = np.flatnonzero(count.any(axis=1)), np.flatnonzero(count.any(axis=0))
        _require(min(len(user), len(item)) >= 2, "fewer than two users or items have events; raise mean_count")
        truth, count = truth.take(user, item), count[np.ix_(user, item)]
        train = _log(count, truth, streams[3])
        if self.features:
            train = replace(
                train,
                user_features=user_features.loc[truth.users],
                item_features=item_features.loc[truth.items],
            )
        return Simulated(train, _random_part(train, truth, self.random_per_user, streams[4]), truth)

    def _draw_truth(
        self, user: np.random.Generator, item: np.random.Generator, frailty: np.random.Generator
    ) -> tuple[Truth, pd.DataFrame, pd.DataFrame]:
        users, items = _ids("u", self.users).rename("user_id"), _ids("i", self.items).rename("item_id")
        theta, user_features = draw_side(user, users, self.factors, self.feature_share, USER_COLUMNS)
        beta, item_features = draw_side(item, items, self.factors, self.feature_share, ITEM_COLUMNS)
        theta, beta = _scaled(theta - theta.mean(axis=0), beta, self.affinity_sd)
        popularity = frailty.gamma(self.popularity_shape, 1.0 / self.popularity_shape, self.items)
        activity = frailty.gamma(self.activity_shape, 1.0 / self.activity_shape, self.users)
        quality = self._quality(popularity, frailty)
        level = np.log(self.mean_count) - np.log(np.exp(theta @ beta.T + quality).mean())
        truth = Truth(
            users=users,
            items=items,
            user_factors=theta,
            item_factors=beta,
            activity=activity,
            popularity=popularity,
            quality=quality,
            scalars=Scalars(
                intercept=float(level),
                popularity_shape=self.popularity_shape,
                activity_shape=self.activity_shape,
                random_rate=self.random_rate,
                popularity_in_outcome=self.popularity_in_outcome,
            ),
        )
        return truth, user_features, item_features

    def _quality(self, popularity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Quality (items,) of the given correlation with log z, whose moments are those of a log-Gamma."""
        alpha, rho = self.popularity_shape, self.quality_correlation
        own = rng.standard_normal(self.items)
        shared = (np.log(popularity) + np.log(alpha) - polygamma(0, alpha)) / np.sqrt(polygamma(1, alpha))
        return self.quality_sd * (rho * shared + np.sqrt(1.0 - rho**2) * own)


def _log(count: np.ndarray, truth: Truth, rng: np.random.Generator) -> Interactions:
    """The non-zero counts as a log; a cell's time is that of the last of its uniformly spread events."""
    user, item = np.nonzero(count)
    value = count[user, item].astype(np.float64)
    # The largest of n uniform variables is distributed as U^(1/n).
    last = rng.random(len(value)) ** (1.0 / value)
    return Interactions(
        users=truth.users,
        items=truth.items,
        user=user,
        item=item,
        value=value,
        trials=np.ones(len(value)),
        timestamp=START + (last * SECONDS).astype(np.int64),
        exposure=np.full(len(value), "biased"),
        missing=Zero(),
        rule=Sum(),
    )


def _random_part(train: Interactions, truth: Truth, per_user: int, rng: np.random.Generator) -> Interactions:
    """Clicks on items drawn without replacement and regardless of popularity, the same number per user."""
    drawn = rng.random(train.shape).argsort(axis=1)[:, :per_user]
    user, item = np.repeat(np.arange(train.n_users), drawn.shape[1]), drawn.ravel()
    click = rng.random(len(user)) < truth.click_probability[user, item]
    return replace(
        train,
        user=user,
        item=item,
        value=click.astype(np.float64),
        trials=np.ones(len(user)),
        timestamp=START + rng.integers(SECONDS // 2, SECONDS, size=len(user)),
        exposure=np.full(len(user), "random"),
        missing=Unobserved(),
        rule=Trials(),
    )


def _scaled(theta: np.ndarray, beta: np.ndarray, sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Both sides times one factor, so that the dot products have standard deviation sd over all pairs."""
    factor = np.sqrt(sd / (theta @ beta.T).std())
    return factor * theta, factor * beta


def _ids(letter: str, number: int) -> pd.Index:
    width = max(3, len(str(number)))
    return pd.Index([f"{letter}{n:0{width}d}" for n in range(1, number + 1)])


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"FrailtyWorld: {rule}.")
