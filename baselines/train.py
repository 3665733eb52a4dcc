"""What a baseline learns from: the log, and which of its cells count as positives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, csr_matrix

from pyrorec.data import Entry, Interactions, Kind
from pyrorec.evaluation.positives import positives

ABOVE_ZERO = float(np.nextafter(0.0, 1.0))


@dataclass(frozen=True, eq=False)
class Train:
    """The train `log`; cells with a value of at least `threshold` are its positives (by default all above zero)."""

    log: Interactions
    threshold: float = ABOVE_ZERO

    @cached_property
    def positives(self) -> csr_matrix:
        """The positives as ones, shape (users, items); cells that differ in exposure only are pooled."""
        cells = self.log.matrix(Entry.VALUE)
        return positives(csr_array((cells.data >= self.threshold, cells.indices, cells.indptr), shape=cells.shape))

    @cached_property
    def clicks(self) -> Interactions:
        """The cells as clicks out of trials: a log of clicks as it is, any other by its positives in one trial each."""
        if self.log.kind is Kind.CLICKS:
            return self.log
        clicked = (self.log.value >= self.threshold).astype(np.float64)
        return replace(self.log, value=clicked, trials=np.ones(len(self.log)))
