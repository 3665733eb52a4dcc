"""Ranking metrics of recommended lists against held-out positives.

Every metric is a function of `hits` (users, k), true where the item at that place of a user's list is a test
positive, and of `n_test` (users,), the number of the user's test positives, at least one. k is the length
that was asked for: a list that could not be filled is not judged more mildly. Test items that never occur in
train cannot be recommended but are counted in `n_test`, hence in the ideal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix

from pyrorec.evaluation.positives import positives
from pyrorec.evaluation.top_k import NO_ITEM, Ranked, Users

Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
PerUser = npt.NDArray[np.float64]


def ndcg(hits: Hits, n_test: Counts) -> PerUser:
    """DCG / ideal DCG: sum over hits of 1 / log2(rank + 1), over the same sum for ranks 1..min(k, n_test)."""
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = discount.cumsum()[np.minimum(n_test, hits.shape[1]) - 1]
    return (hits * discount).sum(axis=1) / ideal


def recall(hits: Hits, n_test: Counts) -> PerUser:
    """Hits / n_test; below one by construction for users with more than k test items."""
    return hits.sum(axis=1) / n_test


def precision(hits: Hits, n_test: Counts) -> PerUser:
    """Hits / k, also where the list holds fewer than k items."""
    return hits.sum(axis=1) / hits.shape[1]


def average_precision(hits: Hits, n_test: Counts) -> PerUser:
    """Sum over hits of the precision at the hit's rank, / n_test (not min(k, n_test), nor the hits)."""
    precision_at_rank = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.sum(precision_at_rank, axis=1, where=hits) / n_test


def reciprocal_rank(hits: Hits, n_test: Counts) -> PerUser:
    """1 / rank of the first hit, 0 without a hit among the k."""
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def hit_rate(hits: Hits, n_test: Counts) -> PerUser:
    """1 with at least one hit among the k, otherwise 0."""
    return np.where(hits.any(axis=1), 1.0, 0.0)


RANKING_METRICS: dict[str, Callable[[Hits, Counts], PerUser]] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}


def evaluable_users(train: csr_matrix, test: csr_matrix) -> Users:
    """Return the codes of the users with at least one train row and one test positive."""
    return np.flatnonzero((np.diff(train.indptr) > 0) & (np.diff(positives(test).indptr) > 0))


def hit_matrix(ranked: Ranked, users: Users, test: csr_matrix) -> Hits:
    """Return (n, k), true where item ranked[row, place] is a test positive of users[row]; -1 is no hit."""
    relevant = positives(test)[users]
    n_items = test.shape[1]
    row_of = np.repeat(np.arange(len(users)), np.diff(relevant.indptr))
    cells = np.arange(len(users))[:, None] * n_items + ranked
    # Without the second condition a -1 would read as the last item of the row above.
    return np.isin(cells, row_of * n_items + relevant.indices) & (ranked != NO_ITEM)


def per_user_ranking_metrics(
    ranked: Ranked, users: Users, test: csr_matrix, at: Sequence[int] = (10, 50)
) -> pd.DataFrame:
    """Return one row per user with a test positive and one column per metric and length, as "ndcg@10".

    `ranked` (n, k) is what `top_k` gave for `users` (n,); `test` (users, items) holds the positives. Raises
    ValueError where a length in `at` is not within 1..k.
    """
    if not all(1 <= k <= ranked.shape[1] for k in at):
        raise ValueError(f"Lengths {tuple(at)} were asked for; the lists hold {ranked.shape[1]} items.")
    n_test = np.diff(positives(test).indptr)[users].astype(np.int64)
    judged = n_test > 0
    hits = hit_matrix(ranked[judged], users[judged], test)
    columns = {
        f"{name}@{k}": metric(hits[:, :k], n_test[judged]) for k in at for name, metric in RANKING_METRICS.items()
    }
    return pd.DataFrame(columns, index=pd.Index(users[judged], name="user"))


def ranking_metrics(ranked: Ranked, users: Users, test: csr_matrix, at: Sequence[int] = (10, 50)) -> pd.Series:
    """Return the means over users of `per_user_ranking_metrics` (its `.sem()` gives the standard errors)."""
    return per_user_ranking_metrics(ranked, users, test, at).mean()
