"""Several scorers as one: their standardised scores added up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyrorec.inference.evaluate import Scorer

TINY = 1e-12


def average(name: str, scorers: Sequence[Scorer]) -> Scorer:
    """The mean of the scorers' scores, each standardised over a user's items; a ranking, no probability.

    What fits of other seeds, or other models, get wrong differs from one to the next, and so averages out.
    """

    def scores(users: np.ndarray) -> np.ndarray:
        return np.mean([standardised(scorer.scores(users)) for scorer in scorers], axis=0)

    def pairs(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        distinct, place = np.unique(user, return_inverse=True)
        found: np.ndarray = scores(distinct)[place, item]
        return found

    return Scorer(name, scores, pairs, probability=False)


def standardised(scores: np.ndarray) -> np.ndarray:
    """Each row with mean 0 and sd 1, (users, items)."""
    scores = np.asarray(scores, dtype=np.float64)
    apart = scores - scores.mean(1, keepdims=True)
    found: np.ndarray = apart / np.maximum(apart.std(1, keepdims=True), TINY)
    return found
