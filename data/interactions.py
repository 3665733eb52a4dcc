"""The one type of interaction log."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pyrorec.data.checks import shown
from pyrorec.data.duplicates import Apart, Duplicates, Last, aggregate
from pyrorec.data.entries import COLUMNS, Entries, columns_of, taken
from pyrorec.data.errors import InputError
from pyrorec.data.kind import Kind, kind_of
from pyrorec.data.matching import written_as
from pyrorec.data.missing import Missing, Zero


class Entry(Enum):
    """What a matrix of the log holds in its stored entries."""

    VALUE = "value"
    TRIALS = "trials"
    PATTERN = "pattern"


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions(Entries):
    """Who did what to which item: one entry per distinct (user, item), or (user, item, exposure) where the
    source says how items were exposed; one entry per record where the rule is Apart.

    users, items: unique ids of any type; the position is the code. user, item: int64 codes (cells,), in order
    of first appearance. value: float64 (cells,), the sum of counts, the clicks of all impressions, or the
    last rating. trials: float64 (cells,), the impressions behind a cell of clicks, 1 otherwise. timestamp: of
    the last record of the cell. propensity: in (0, 1], of the last rating, otherwise the harmonic mean of the
    records', so that trials / propensity of clicks is the sum of the inverse propensities. missing: what an
    absent cell says. user_features, item_features: tables indexed by id, which may know more ids than the
    log. aggregation: one sentence on repeated records, empty if there were none. rule: how they were
    aggregated.

    Raises InputError for columns of unequal length, repeated ids and codes out of range.
    """

    users: pd.Index
    items: pd.Index
    missing: Missing = field(default_factory=Zero)
    user_features: pd.DataFrame | None = None
    item_features: pd.DataFrame | None = None
    aggregation: str = ""
    rule: Duplicates = field(default_factory=Last)

    def __post_init__(self) -> None:
        for name, column in columns_of(self).items():
            if column.shape != self.user.shape:
                raise InputError(f"Column {name} has shape {column.shape}, but user has {self.user.shape}.")
        for name, ids, codes in (("user", self.users, self.user), ("item", self.items, self.item)):
            if not ids.is_unique:
                raise InputError(f"The {name} ids must be unique; {shown(ids[ids.duplicated()][0])} stands twice.")
            if len(codes) and not (codes.min() >= 0 and codes.max() < len(ids)):
                raise InputError(f"The {name} codes must lie in 0..{len(ids) - 1}, the positions of the ids.")

    def __repr__(self) -> str:
        return (
            f"Interactions({self.n_users:,} users x {self.n_items:,} items, {len(self):,} cells, "
            f"{self.kind.value}, missing={self.missing})"
        )

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    @property
    def shape(self) -> tuple[int, int]:
        """(users, items)."""
        return self.n_users, self.n_items

    @cached_property
    def kind(self) -> Kind:
        """What sort of values the cells hold."""
        return kind_of(self.value, self.trials)

    @property
    def pattern(self) -> np.ndarray:
        """1 for each cell, shape (cells,)."""
        return np.ones(len(self))

    @cached_property
    def user_counts(self) -> np.ndarray:
        """Number of cells of each user, int64 (users,)."""
        return np.bincount(self.user, minlength=self.n_users)

    @cached_property
    def item_counts(self) -> np.ndarray:
        """Number of cells of each item, int64 (items,)."""
        return np.bincount(self.item, minlength=self.n_items)

    @cached_property
    def item_totals(self) -> np.ndarray:
        """Sum of the values of each item, float64 (items,)."""
        return np.bincount(self.item, weights=self.value, minlength=self.n_items)

    def select(self, cells: np.ndarray) -> Interactions:
        """The log of these cells only (boolean mask (cells,) or indices); ids and codes stay as they are."""
        chosen = np.asarray(cells)
        if chosen.dtype != np.bool_:
            chosen = chosen.astype(np.int64)
        return replace(self, **taken(self, chosen))

    def compact(self) -> Interactions:
        """The same cells with only the ids that have one; codes are counted anew, feature tables stay whole."""
        users, user = np.unique(self.user, return_inverse=True)
        items, item = np.unique(self.item, return_inverse=True)
        return replace(self, users=self.users[users], items=self.items[items], user=user, item=item)

    def binarised(self) -> Interactions:
        """Each cell as one trial: 1 where the value is positive, else 0; explicit zeros stay zeros."""
        return replace(self, value=(self.value > 0.0).astype(np.float64), trials=np.ones(len(self)))

    def with_missing(self, missing: Missing) -> Interactions:
        """The same cells with another meaning of absent ones."""
        return replace(self, missing=missing)

    def pooled(self) -> Interactions:
        """One cell per (user, item): cells that differ in exposure, or were kept apart, are aggregated by `rule`."""
        return self._pooled

    @cached_property
    def _pooled(self) -> Interactions:
        if self.exposure is None and not isinstance(self.rule, Apart):
            return self
        merged = aggregate(self.rule, replace(self, exposure=None), self.n_items)
        return replace(self, exposure=None, **columns_of(merged))

    def matrix(self, what: Entry = Entry.VALUE) -> sparse.csr_array:
        """Sparse (users, items) float64 array of the pooled cells; explicit zeros are stored entries."""
        cells = self.pooled()
        order, items, starts = cells._rows
        # Copied, because SciPy's eliminate_zeros and the like change the index arrays in place.
        return sparse.csr_array((getattr(cells, what.value)[order], items, starts), shape=self.shape, copy=True)

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """CSR layout: cells sorted by user and item, their item codes, and where each user's row starts."""
        order = np.argsort(self.user * self.n_items + self.item)
        starts = np.concatenate([[0], np.cumsum(self.user_counts)])
        return order, self.item[order], starts

    def to_frame(self) -> pd.DataFrame:
        """The cells with their original ids: user_id, item_id, value, trials and what else the log has."""
        frame: dict[str, Any] = columns_of(self)
        frame["user"] = self.users.take(frame["user"])
        frame["item"] = self.items.take(frame["item"])
        return pd.DataFrame(frame).rename(columns={"user": "user_id", "item": "item_id"})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, missing: Missing, rule: Duplicates) -> Interactions:
        """The log of a frame that `to_frame` has made: one cell a row, nothing aggregated anew."""
        coded = {side: pd.factorize(frame[f"{side}_id"]) for side in ("user", "item")}
        columns = {name: frame[name].to_numpy() for name in COLUMNS if name in frame}
        columns |= {side: np.asarray(code, dtype=np.int64) for side, (code, _) in coded.items()}
        ids = {f"{side}s": pd.Index(found) for side, (_, found) in coded.items()}
        return cls(**ids, **columns, missing=missing, rule=rule)

    def recode(self, users: pd.Index, items: pd.Index) -> tuple[np.ndarray, np.ndarray]:
        """Codes of this log's cells among other ids: two int64 arrays (cells,), with -1 for unknown ids."""
        user = np.asarray(users.get_indexer(written_as(users, self.users)), dtype=np.int64)
        item = np.asarray(items.get_indexer(written_as(items, self.items)), dtype=np.int64)
        return user[self.user], item[self.item]
