"""What a simulated log was generated from, by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Scalars:
    """The numbers that all cells share.

    intercept: log scale. popularity_shape, activity_shape: the shapes alpha of Gamma(alpha, rate alpha).
    random_rate: expected events of a random impression at affinity 0. popularity_in_outcome: the power of
    popularity in the outcome of a random impression; 0 where taste alone decides.
    """

    intercept: float
    popularity_shape: float
    activity_shape: float
    random_rate: float
    popularity_in_outcome: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """The parameters behind a simulated log `y_ui ~ Poisson(w_u z_i exp(intercept + a_ui))`.

    users, items: ids; the position is the row. user_factors theta (users, factors), centred over all users
    that were drawn. item_factors beta (items, factors). activity w (users,) and popularity z (items,): rates
    with population mean 1. quality (items,): log scale, what all users find in an item alike.
    """

    users: pd.Index
    items: pd.Index
    user_factors: np.ndarray
    item_factors: np.ndarray
    activity: np.ndarray
    popularity: np.ndarray
    quality: np.ndarray
    scalars: Scalars

    def __repr__(self) -> str:
        users, factors = self.user_factors.shape
        return f"Truth({users:,} users x {len(self.items):,} items, {factors} factors, {self.scalars})"

    @property
    def affinity(self) -> np.ndarray:
        """a_ui = theta_u . beta_i + quality_i, on the log scale of the rates, (users, items)."""
        return self.user_factors @ self.item_factors.T + self.quality

    @property
    def expected_count(self) -> np.ndarray:
        """Mean of the logged count, w_u z_i exp(intercept + a_ui), (users, items)."""
        return np.outer(self.activity, self.popularity) * np.exp(self.scalars.intercept + self.affinity)

    @property
    def click_probability(self) -> np.ndarray:
        """P(click) of a random impression, 1 - exp(-rate z_i^power e^a_ui), (users, items)."""
        pushed = self.popularity**self.scalars.popularity_in_outcome
        return -np.expm1(-self.scalars.random_rate * pushed * np.exp(self.affinity))

    def take(self, user: np.ndarray, item: np.ndarray) -> Truth:
        """The truth of these rows of users and items only, index arrays or boolean masks."""
        return replace(
            self,
            users=self.users[user],
            items=self.items[item],
            user_factors=self.user_factors[user],
            item_factors=self.item_factors[item],
            activity=self.activity[user],
            popularity=self.popularity[item],
            quality=self.quality[item],
        )

    def aligned(self, users: pd.Index, items: pd.Index) -> Truth:
        """The truth in the order of these ids, such as those of a log; KeyError for an unknown id."""
        return self.take(_positions(self.users, users), _positions(self.items, items))

    def user_table(self) -> pd.DataFrame:
        """One row per user: user_id, activity and factor_1, factor_2, ..."""
        frame = pd.DataFrame({"user_id": self.users, "activity": self.activity})
        return frame.join(_factor_table(self.user_factors))

    def item_table(self) -> pd.DataFrame:
        """One row per item: item_id, popularity, quality and factor_1, factor_2, ..."""
        frame = pd.DataFrame({"item_id": self.items, "popularity": self.popularity, "quality": self.quality})
        return frame.join(_factor_table(self.item_factors))

    def shared(self) -> dict[str, float]:
        """The scalars as plain data, ready for JSON."""
        return asdict(self.scalars)

    @classmethod
    def from_tables(cls, users: pd.DataFrame, items: pd.DataFrame, shared: Mapping[str, float]) -> Truth:
        """The truth that `user_table`, `item_table` and `shared` wrote down."""
        return cls(
            users=pd.Index(users["user_id"]),
            items=pd.Index(items["item_id"]),
            user_factors=_factors(users),
            item_factors=_factors(items),
            activity=users["activity"].to_numpy(np.float64),
            popularity=items["popularity"].to_numpy(np.float64),
            quality=items["quality"].to_numpy(np.float64),
            scalars=Scalars(**shared),
        )


def _positions(known: pd.Index, wanted: pd.Index) -> np.ndarray:
    position = known.get_indexer(wanted)
    if (position < 0).any():
        raise KeyError(f"The truth knows no id {wanted[int(np.argmax(position < 0))]!r}; it was not simulated.")
    return position


def _factor_table(factors: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({f"factor_{k + 1}": column for k, column in enumerate(factors.T)})


def _factors(frame: pd.DataFrame) -> np.ndarray:
    return frame.filter(regex=r"^factor_\d+$").to_numpy(np.float64)
