"""Popularity: everybody is offered what most users had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pyrorec.baselines.base import Baseline, ItemScores, Scorer, Users
from pyrorec.baselines.train import Train
from pyrorec.evaluation.positives import item_counts


@dataclass(frozen=True)
class PopularityScorer(Scorer):
    """`counts` (items,): the number of users of each item."""

    counts: ItemScores

    def scores(self, users: Users) -> ItemScores:
        return np.tile(self.counts, (len(users), 1))


@dataclass(frozen=True)
class Popularity(Baseline):
    """Scores every item by its number of users in train, the same for all users."""

    name: ClassVar[str] = "popularity"

    def fit(self, train: Train) -> PopularityScorer:
        return PopularityScorer(item_counts(train.positives).astype(np.float32))
