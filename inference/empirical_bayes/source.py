"""Which cells of which log some counts were made of: what the guard against double use compares."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import pandas as pd

from pyrorec.data import Interactions

#: Odd, so that multiplying by it loses no bit; it keeps (user, item) apart from (item, user).
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Uses(Enum):
    """What of the cells was counted: that they are there, or also what came of them."""

    EXPOSURE = "exposure"
    OUTCOME = "outcome"


@dataclass(frozen=True, eq=False)
class Source:
    """The cells behind some counts, as hashes.

    pair: uint64 (cells,), of user and item id as text, so that renumbered ids are still recognised. time: float64
    (cells,), None for an undated log. Values are left out: binarising a log does not make it other data.
    """

    uses: Uses
    pair: np.ndarray
    time: np.ndarray | None = None

    @classmethod
    def of(cls, log: Interactions, uses: Uses) -> Source:
        """All cells of a log."""
        time = None if log.timestamp is None else log.timestamp.astype(np.float64)
        return cls(uses, _hash(log.users)[log.user] * MULTIPLIER + _hash(log.items)[log.item], time)

    def shared_with(self, log: Interactions) -> int:
        """How many cells of `log` were counted: same user, item and time; same user and item if either is undated."""
        other = Source.of(log, self.uses)
        if self.time is None or other.time is None:
            return int(np.isin(other.pair, self.pair).sum())
        return int(np.isin(_dated(other.pair, other.time), _dated(self.pair, self.time)).sum())


#: Counts that the user says stem from other data than any log to be fitted: sales figures, another platform.
OTHER_DATA = Source(Uses.OUTCOME, np.empty(0, dtype=np.uint64))


def _hash(ids: pd.Index) -> np.ndarray:
    return pd.util.hash_array(np.array([str(one) for one in ids], dtype=object), categorize=False)


def _dated(pair: np.ndarray, time: np.ndarray) -> np.ndarray:
    return pair ^ pd.util.hash_array(time)
