"""The columns of a log, one entry per record or per cell."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

#: Labels of how an item came before a user: by taste and recommendation, or at random.
EXPOSURES = ("biased", "random")


@dataclass(frozen=True, kw_only=True, eq=False)
class Entries:
    """Parallel columns of shape (entries,).

    user, item: int64 codes. value: float64. trials: float64 number of impressions. timestamp: float64 or
    int64 in the unit of the source. exposure: str, "biased" or "random". propensity: float64 in (0, 1].
    """

    user: np.ndarray
    item: np.ndarray
    value: np.ndarray
    trials: np.ndarray
    timestamp: np.ndarray | None = None
    exposure: np.ndarray | None = None
    propensity: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)


COLUMNS = tuple(field.name for field in fields(Entries))


def columns_of(entries: Entries) -> dict[str, Any]:
    """The columns that are there, by name."""
    present = {name: getattr(entries, name) for name in COLUMNS}
    return {name: column for name, column in present.items() if column is not None}


def taken(entries: Entries, index: np.ndarray) -> dict[str, Any]:
    """The columns at `index` (an index array or a boolean mask), by name."""
    return {name: column[index] for name, column in columns_of(entries).items()}
