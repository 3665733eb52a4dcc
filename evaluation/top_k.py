"""The k best items of every user, read off scores that arrive a few users at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Users = npt.NDArray[np.int64]
Ranked = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]

NO_ITEM = -1


def score_chunks(scores: Callable[[Users], Scores], users: Users, rows: int = 1024) -> Iterator[tuple[Users, Scores]]:
    """Yield (users, scores) for `rows` users at a time, so that users x items never stands in memory."""
    for start in range(0, len(users), rows):
        chunk = users[start : start + rows]
        yield chunk, scores(chunk)


def top_k(
    chunks: Iterable[tuple[Users, Scores]],
    seen: csr_matrix,
    allowed_items: npt.NDArray[np.bool_],
    k: int,
) -> tuple[Users, Ranked]:
    """Return the scored users (n,) and their k best items (n, k) by decreasing score.

    `chunks` yields user codes (m,) with scores (m, items), which are left unchanged. Every cell stored in
    `seen` (users, items) is left out, whatever its value, and so is every item not in `allowed_items`
    (items,). Equal scores are ordered by item code. Where fewer than k candidates are left (or the score is
    minus infinity), the list is filled up with -1. Raises ValueError for k < 1, for shapes that do not
    agree and for scores that are not a number.
    """
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one item per user.")
    if allowed_items.shape != (seen.shape[1],):
        raise ValueError(
            f"allowed_items has shape {allowed_items.shape}; give one truth value for each of "
            f"the {seen.shape[1]} items."
        )
    users = [np.empty(0, np.int64)]
    ranked = [np.empty((0, k), np.int64)]
    for chunk_users, scores in chunks:
        users.append(np.asarray(chunk_users, dtype=np.int64))
        ranked.append(_best(_candidates(users[-1], scores, seen, allowed_items), k))
    return np.concatenate(users), np.concatenate(ranked)


def _candidates(users: Users, scores: Scores, seen: csr_matrix, allowed_items: npt.NDArray[np.bool_]) -> Scores:
    """Copy the scores with minus infinity where nothing may be recommended."""
    if scores.shape != (len(users), seen.shape[1]):
        raise ValueError(
            f"The scores have shape {scores.shape}; give one row for each of {len(users)} users "
            f"and one column for each of {seen.shape[1]} items."
        )
    masked = np.array(scores, dtype=np.result_type(scores.dtype, np.float32))
    rows_seen = seen[users]
    rows = np.repeat(np.arange(len(users)), np.diff(rows_seen.indptr))
    masked[rows, rows_seen.indices] = -np.inf
    masked[:, ~allowed_items] = -np.inf
    if np.isnan(masked).any():
        bad = users[np.isnan(masked).any(axis=1)][0]
        raise ValueError(f"The scores of user code {bad} hold NaN; look at the model before ranking with it.")
    return masked


def _best(scores: Scores, k: int) -> Ranked:
    """Return the item codes of the k largest scores of each row, ties by code, -1 for minus infinity."""
    n, n_items = scores.shape
    kept = min(k, n_items)
    last = np.partition(scores, n_items - kept, axis=1)[:, [n_items - kept]]
    above = scores > last
    # A partition keeps arbitrary items of those tied with the last place; we keep the lowest codes.
    tied = scores == last
    places_left = kept - above.sum(axis=1, keepdims=True)
    keep = above | (tied & (tied.cumsum(axis=1, dtype=np.int32) <= places_left))
    items = np.nonzero(keep)[1].reshape(n, kept)
    values = np.take_along_axis(scores, items, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = np.full((n, k), NO_ITEM, dtype=np.int64)
    ranked[:, :kept] = np.where(
        np.isneginf(np.take_along_axis(values, order, axis=1)),
        NO_ITEM,
        np.take_along_axis(items, order, axis=1),
    )
    return ranked
