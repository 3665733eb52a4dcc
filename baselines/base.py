"""What a baseline is: something fitted to the positives of a log that scores all items for some users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Users = npt.NDArray[np.int64]
ItemScores = npt.NDArray[np.float32]


class Scorer(ABC):
    """A fitted baseline."""

    @abstractmethod
    def scores(self, users: Users) -> ItemScores:
        """Return the scores (len(users), items) of all items, seen ones included, on a scale of its own."""


class Baseline(ABC):
    """Hyper-parameters of a baseline; `name` is its row in a table of results."""

    name: ClassVar[str]

    @abstractmethod
    def fit(self, train: csr_matrix) -> Scorer:
        """Fit to `train` (users, items), of which the cells above zero are the positives."""
