"""What a baseline is: something fitted to a log that scores all items for some users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pyrorec.baselines.train import Train

Users = npt.NDArray[np.int64]
Items = npt.NDArray[np.int64]
ItemScores = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]


class Unfit(ValueError):
    """The log lacks what the baseline learns from; the message is the line to print in place of its row."""


class Scorer(ABC):
    """A fitted baseline."""

    @abstractmethod
    def scores(self, users: Users) -> ItemScores:
        """Return the scores (len(users), items) of all items, seen ones included, on a scale of its own."""


class ClickScorer(Scorer):
    """A fitted baseline that also says how probable a click is, which is judged for calibration."""

    @abstractmethod
    def probabilities(self, users: Users, items: Items) -> Probabilities:
        """Return P(click | shown) of the pairs (users[n], items[n]), shape (n,)."""


class Baseline(ABC):
    """Hyper-parameters of a baseline; `name` is its row in a table of results."""

    name: ClassVar[str]

    @abstractmethod
    def fit(self, train: Train) -> Scorer:
        """Fit to `train`, or raise Unfit where it lacks what this baseline needs."""
