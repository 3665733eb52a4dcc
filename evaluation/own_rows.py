"""Ranking among the rows a user has in the test, for tests in which what was shown does not depend on taste."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def ndcg_within_users(users: npt.ArrayLike, scores: npt.ArrayLike, clicks: npt.ArrayLike, k: int) -> float:
    """Mean over users with a click of the NDCG@k of their own test rows, best score first.

    `users`, `scores` and `clicks` (rows,): user code, score on any scale, and 1 for a click. The gain is binary, its
    discount 1 / log2(rank + 1), the ideal over min(k, clicks of the user). Rows of equal score share the mean discount
    of their ranks, which is the expectation over random orders of them (McSherry and Najork, 2008), so the order of
    rows does not matter. NaN where no user has a click. Raises ValueError for k < 1 and for scores that are NaN.
    """
    users, scores = np.asarray(users), np.asarray(scores, dtype=np.float64)
    clicks = np.asarray(clicks, dtype=np.float64)
    if k < 1:
        raise ValueError(f"k is {k}; judge at least one row per user.")
    if np.isnan(scores).any():
        raise ValueError("Some scores are NaN; a ranking needs scores that can be ordered.")
    found = [_ndcg(scores[rows], clicks[rows], k) for rows in _rows_of(users) if clicks[rows].any()]
    return float(np.mean(found)) if found else np.nan


def _rows_of(users: npt.NDArray) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of each user."""
    order = np.argsort(users, kind="stable")
    changes = np.flatnonzero(np.diff(users[order])) + 1
    return np.split(order, changes)


def _ndcg(scores: npt.NDArray[np.float64], clicks: npt.NDArray[np.float64], k: int) -> float:
    """Return the NDCG@k of one user's rows, of which one at least is a click."""
    discount = np.zeros(len(scores))
    first = np.arange(min(k, len(scores)))
    discount[first] = 1 / np.log2(first + 2)
    _, tied, size = np.unique(-scores, return_inverse=True, return_counts=True)
    shared = np.add.reduceat(discount, np.concatenate([[0], size.cumsum()[:-1]])) / size
    return float(clicks @ shared[tied] / discount[: int(clicks.sum())].sum())
