"""Observed popularity that never counts the interaction it is to explain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyrorec.baselines import Unfit
from pyrorec.data import Interactions

Array = npt.NDArray[np.float64]


def smoothed_share(counts: Array, smoothing: float, total: Array | float) -> Array:
    """Share of each item, (count + smoothing) / (total + smoothing x items), as a multiple of 1 / items.

    `counts` (..., items), `total` (...). The multiple changes no ranking, and keeps scores on one scale whatever the
    number of items; smoothing keeps unseen items above zero, where a score would vanish with its gradient.
    """
    items = counts.shape[-1]
    return items * (counts + smoothing) / (np.asarray(total)[..., None] + smoothing * items)


class PopularityOfRecords(ABC):
    """Popularity as it stood for each record of a log of positives; 1 is the mean over items."""

    @abstractmethod
    def of_taken(self, records: np.ndarray) -> Array:
        """Popularity of the item of each record, without that record, (n,)."""

    @abstractmethod
    def of_others(self, records: np.ndarray, items: np.ndarray) -> Array:
        """Popularity of items (n,) that compete with the items of the records, (n,)."""

    @abstractmethod
    def forecast(self) -> Array:
        """Popularity from now on, (items,)."""


class PopularityRule(ABC):
    """How popularity is counted; positive everywhere."""

    @abstractmethod
    def count(self, positives: Interactions) -> PopularityOfRecords:
        """Count a log of positives, each cell once."""


@dataclass(frozen=True)
class PeriodTable(PopularityOfRecords):
    """`table` (periods + 1, items): row t from the records of period t - 1, row 0 flat; `period` (records,)."""

    item: np.ndarray
    period: np.ndarray
    table: Array
    trend: float

    def of_taken(self, records: np.ndarray) -> Array:
        return self.of_others(records, self.item[records])

    def of_others(self, records: np.ndarray, items: np.ndarray) -> Array:
        return self.table[self.period[records], items]

    def forecast(self) -> Array:
        last, before = self.table[-1], self.table[-2]
        return np.maximum(last + self.trend * (last - before), last.min())


@dataclass(frozen=True)
class EarlierPeriods(PopularityRule):
    """Popularity in period t is the smoothed share of period t - 1; the log is cut by time into equally full periods.

    Equal times fall into one period, so there may be fewer than asked for, and the first period has a flat popularity.
    The forecast is the share of the last period plus `trend` times its change from the one before, at least the
    smallest share. Zhang et al. (2021, SIGIR) count the period of the interaction itself; here it never counts. Raises
    Unfit for a log without timestamps.
    """

    periods: int = 10
    smoothing: float = 1.0
    trend: float = 0.0

    def __post_init__(self) -> None:
        if self.periods < 2 or not self.smoothing > 0 or not self.trend >= 0:
            raise ValueError(f"{self} cannot count: at least 2 periods, smoothing above 0 and no negative trend.")

    def count(self, positives: Interactions) -> PeriodTable:
        if positives.timestamp is None:
            raise Unfit("Popularity of earlier periods skipped: the log has no timestamps; LeaveOneOut needs none.")
        cuts = np.quantile(positives.timestamp, np.arange(1, self.periods) / self.periods)
        occupied, period = np.unique(np.searchsorted(cuts, positives.timestamp, side="left"), return_inverse=True)
        flat = period * positives.n_items + positives.item
        counts = np.bincount(flat, minlength=len(occupied) * positives.n_items).reshape(len(occupied), -1).astype(float)
        shares = smoothed_share(counts, self.smoothing, counts.sum(axis=1))
        return PeriodTable(positives.item, period, np.vstack([np.ones(positives.n_items), shares]), self.trend)


@dataclass(frozen=True)
class OtherRecords(PopularityOfRecords):
    """Smoothed shares (items,): `own` of an item without one of its records, `share` without one of another item's.

    `whole` is the share among all records.
    """

    item: np.ndarray
    own: Array
    share: Array
    whole: Array

    def of_taken(self, records: np.ndarray) -> Array:
        return self.own[self.item[records]]

    def of_others(self, records: np.ndarray, items: np.ndarray) -> Array:
        return self.share[items]

    def forecast(self) -> Array:
        return self.whole


@dataclass(frozen=True)
class LeaveOneOut(PopularityRule):
    """Popularity of an item for a record is its smoothed share among all other records: for logs without timestamps."""

    smoothing: float = 1.0

    def __post_init__(self) -> None:
        if not self.smoothing > 0:
            raise ValueError(f"{self} cannot count: smoothing must be above 0.")

    def count(self, positives: Interactions) -> OtherRecords:
        counts, total = positives.item_counts.astype(float), float(len(positives))
        without, share, whole = (
            smoothed_share(of, self.smoothing, among)
            for of, among in ((np.maximum(counts - 1, 0), total - 1), (counts, total - 1), (counts, total))
        )
        return OtherRecords(positives.item, without, share, whole)
