"""Triples for pairwise training: every positive, beside an item the user has nothing to do with in train."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from pyrorec.baselines import Unfit
from pyrorec.data import Interactions
from pyrorec.inference.pairwise.bpr import Triples


class UniformNegatives:
    """Negatives drawn uniformly among the items without any train cell of that user, explicit zeros included.

    So a negative is an item that was perhaps never seen: uniform draws keep rankings consistent with the odds of
    an interaction, where draws by popularity would take popularity out of the score a second time (maths 2.6).
    `positives` are the records to learn from, `cells` all train cells. Users who have every item have no negative and
    their records are left out; raises Unfit where nothing remains.
    """

    def __init__(self, positives: Interactions, cells: Interactions) -> None:
        self.n_items = cells.n_items
        self.had = np.unique(cells.user * self.n_items + cells.item)
        distinct = np.bincount(self.had // self.n_items, minlength=cells.n_users)
        self.records = np.flatnonzero(distinct[positives.user] < self.n_items)
        if not len(self.records):
            raise Unfit("Pairwise training skipped: no positive of a user who has not had every item.")
        self.user, self.item = positives.user, positives.item

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Triples]:
        """Every record once, in random order, each with a freshly drawn negative."""
        order = rng.permutation(self.records)
        others = self.draw(self.user[order], rng)
        for start in range(0, len(order), batch_size):
            part = order[start : start + batch_size]
            columns = (self.user[part], self.item[part], others[start : start + batch_size], part)
            yield Triples(*(torch.as_tensor(column) for column in columns))

    def draw(self, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One negative for each of `users` (n,), int64; draws that hit a train cell are repeated."""
        items = rng.integers(self.n_items, size=len(users))
        again = np.flatnonzero(self.taken(users, items))
        while len(again):
            items[again] = rng.integers(self.n_items, size=len(again))
            again = again[self.taken(users[again], items[again])]
        return items

    def taken(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether the pairs have a train cell, (n,)."""
        pair = users * self.n_items + items
        place = np.minimum(np.searchsorted(self.had, pair), len(self.had) - 1)
        return self.had[place] == pair
