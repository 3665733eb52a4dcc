"""How several records of one (user, item, exposure) become one cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from pyrorec.data.entries import EXPOSURES, Entries
from pyrorec.data.errors import InputError
from pyrorec.data.kind import LARGEST_GRADE, is_whole


@dataclass(frozen=True)
class Groups:
    """Which cell each record belongs to: cell (records,), last (cells,) the last record of each cell."""

    cell: np.ndarray
    last: np.ndarray

    def total(self, column: np.ndarray) -> np.ndarray:
        """Sum of a record column within each cell, shape (cells,)."""
        return np.bincount(self.cell, weights=column, minlength=len(self.last))


class Duplicates(Protocol):
    """A rule that turns the records of a cell into one value."""

    @property
    def phrase(self) -> str:
        """What was done, to follow "the records of each were"."""

    def value(self, records: Entries, groups: Groups) -> np.ndarray:
        """Value of each cell, shape (cells,)."""

    def trials(self, records: Entries, groups: Groups) -> np.ndarray:
        """Number of impressions of each cell, shape (cells,)."""

    def propensity(self, records: Entries, groups: Groups) -> np.ndarray | None:
        """Propensity of each cell, shape (cells,), or None."""


def harmonic_propensity(records: Entries, groups: Groups) -> np.ndarray | None:
    """Harmonic mean of the propensities, so that n / propensity is the sum of the inverse ones."""
    if records.propensity is None:
        return None
    return groups.total(records.trials) / groups.total(records.trials / records.propensity)


@dataclass(frozen=True)
class Sum:
    """Values are summed; trials stay 1; the propensity is the harmonic mean."""

    phrase = "summed"

    def value(self, records: Entries, groups: Groups) -> np.ndarray:
        return groups.total(records.value)

    def trials(self, records: Entries, groups: Groups) -> np.ndarray:
        return np.ones(len(groups.last))

    def propensity(self, records: Entries, groups: Groups) -> np.ndarray | None:
        return harmonic_propensity(records, groups)


@dataclass(frozen=True)
class Trials:
    """0/1 records become (clicks, trials); the propensity is the harmonic mean."""

    phrase = "added up to (clicks, trials)"

    def value(self, records: Entries, groups: Groups) -> np.ndarray:
        if not np.all((records.value >= 0.0) & (records.value <= records.trials)):
            raise InputError("Trials() needs values that are all 0 or 1; use Sum() for counts, Last() for ratings.")
        return groups.total(records.value)

    def trials(self, records: Entries, groups: Groups) -> np.ndarray:
        return groups.total(records.trials)

    def propensity(self, records: Entries, groups: Groups) -> np.ndarray | None:
        return harmonic_propensity(records, groups)


@dataclass(frozen=True)
class Last:
    """The last record stands: the latest by timestamp where there is one (ties: the later in the file)."""

    phrase = "reduced to the last one"

    def value(self, records: Entries, groups: Groups) -> np.ndarray:
        return records.value[groups.last]

    def trials(self, records: Entries, groups: Groups) -> np.ndarray:
        return records.trials[groups.last]

    def propensity(self, records: Entries, groups: Groups) -> np.ndarray | None:
        return None if records.propensity is None else records.propensity[groups.last]


@dataclass(frozen=True)
class Apart:
    """Every record stays a cell of its own, with its own time; where a pair needs one cell, its records are merged by
    the rule that the values suggest."""

    phrase = "kept apart"

    def value(self, records: Entries, groups: Groups) -> np.ndarray:
        return choose_rule(records.value).value(records, groups)

    def trials(self, records: Entries, groups: Groups) -> np.ndarray:
        return choose_rule(records.value).trials(records, groups)

    def propensity(self, records: Entries, groups: Groups) -> np.ndarray | None:
        return choose_rule(records.value).propensity(records, groups)


def choose_rule(value: np.ndarray) -> Duplicates:
    """The rule for record values (records,) when none is given.

    0/1 with zeros: Trials. All ones, or whole numbers from 0 with some above 5 or some zero: Sum. Whole
    numbers in 1..5, reals and negative numbers: Last.
    """
    if not is_whole(value) or value.min() < 0.0:
        return Last()
    smallest, largest = value.min(), value.max()
    if smallest == 0.0:
        return Trials() if largest <= 1.0 else Sum()
    return Sum() if largest == 1.0 or largest > LARGEST_GRADE else Last()


def last_records(cell: np.ndarray, cells: int, timestamp: np.ndarray | None) -> np.ndarray:
    """Index of the last record of each cell, by timestamp where given, else by order; shape (cells,)."""
    order = np.arange(len(cell)) if timestamp is None else np.argsort(timestamp, kind="stable")
    last = np.empty(cells, dtype=np.int64)
    last[cell[order]] = order  # of repeated indices NumPy keeps the last assignment
    return last


def aggregate(rule: Duplicates, records: Entries, n_items: int) -> Entries:
    """One entry per distinct (user, item, exposure), in order of first appearance.

    `rule` sets value, trials and propensity; the timestamp is that of the last record. Records of a pair that
    were exposed differently stay apart, because the one is training and the other unbiased evidence.
    """
    key = records.user * n_items + records.item
    if records.exposure is not None:
        key = 2 * key + (records.exposure == EXPOSURES[1])
    cell, keys = pd.factorize(key)
    del key  # 8 bytes a record, at the peak of memory
    groups = Groups(cell, last_records(cell, len(keys), records.timestamp))
    exposure = None
    if records.exposure is not None:
        keys, label = np.divmod(keys, 2)
        exposure = np.array(EXPOSURES)[label]
    return Entries(
        user=keys // n_items,
        item=keys % n_items,
        value=rule.value(records, groups),
        trials=rule.trials(records, groups),
        timestamp=None if records.timestamp is None else records.timestamp[groups.last],
        exposure=exposure,
        propensity=rule.propensity(records, groups),
    )
