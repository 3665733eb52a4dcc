"""How strongly recommended lists favour popular items.

`ranked` (users, k) holds item codes with -1 for an empty place, `item_counts` (items,) the number of users of
each item in train. Lists without any item are left out of means over users; NaN where no list holds an item.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix

from pyrorec.evaluation.positives import item_counts, positives
from pyrorec.evaluation.top_k import NO_ITEM, Ranked, Users

Counts = npt.NDArray[np.int64]

HEAD_SHARE = 0.2


def average_recommendation_popularity(ranked: Ranked, item_counts: Counts) -> float:
    """ARP: mean over users of the mean train count of the recommended items (Yin et al., 2012)."""
    return _mean_of_known(_list_means(ranked, item_counts))


def long_tail(item_counts: Counts, head_share: float = HEAD_SHARE) -> npt.NDArray[np.bool_]:
    """Return (items,), false for the short head: the most popular `head_share` of the items seen in train.

    The head holds ceil(head_share x items with a train count) items, equal counts by item code; all other
    items are the tail, those never seen included.
    """
    n_head = int(np.ceil(head_share * np.count_nonzero(item_counts)))
    tail = np.ones(len(item_counts), dtype=np.bool_)
    tail[np.argsort(-item_counts, kind="stable")[:n_head]] = False
    return tail


def average_long_tail_share(ranked: Ranked, item_counts: Counts, head_share: float = HEAD_SHARE) -> float:
    """APLT: mean over users of the share of long-tail items in the list (Abdollahpouri et al., 2017).

    The short head is the most popular fifth of the items seen in train (see `long_tail`), not the items that
    hold 80 % of the interactions, which is the other usage.
    """
    return _mean_of_known(_list_means(ranked, long_tail(item_counts, head_share)))


def gini(ranked: Ranked, n_items: int) -> float:
    """Gini coefficient of how often each of all items is recommended: 0 all alike, 1 - 1/items a single one.

    sum_j (2 j - items - 1) x_(j) / (items sum x) over the frequencies x in increasing order.
    """
    frequency = np.sort(_frequency(ranked, n_items))
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    total = n_items * frequency.sum()
    return float(weights @ frequency / total) if total else np.nan


def item_coverage(ranked: Ranked, n_items: int) -> float:
    """Share of all items that are recommended to at least one user."""
    return float(np.count_nonzero(_frequency(ranked, n_items)) / n_items)


def popularity_lift(ranked: Ranked, users: Users, train: csr_matrix) -> float:
    """ARP of the lists / the same mean over the users' train profiles - 1 (Abdollahpouri et al., 2020).

    `users` (n,) are the users of the rows of `ranked`; one without a list or a profile is left out of both.
    """
    profiles, counts = positives(train)[users], item_counts(train)
    length = np.diff(profiles.indptr)
    recommended = _list_means(ranked, counts)
    both = (length > 0) & ~np.isnan(recommended)
    in_profile = (profiles @ counts.astype(np.float64))[both] / length[both]
    return _mean_of_known(recommended[both]) / _mean_of_known(in_profile) - 1


def popularity_bias_metrics(ranked: Ranked, users: Users, train: csr_matrix, at: Sequence[int] = (10, 50)) -> pd.Series:
    """Return the five measures on the first k places for each k of `at`, named as "arp@10"."""
    counts, n_items = item_counts(train), train.shape[1]
    values: dict[str, float] = {}
    for k in at:
        lists = ranked[:, :k]
        values |= {
            f"arp@{k}": average_recommendation_popularity(lists, counts),
            f"aplt@{k}": average_long_tail_share(lists, counts),
            f"gini@{k}": gini(lists, n_items),
            f"item_coverage@{k}": item_coverage(lists, n_items),
            f"popularity_lift@{k}": popularity_lift(lists, users, train),
        }
    return pd.Series(values)


def _list_means(ranked: Ranked, of_item: npt.NDArray) -> npt.NDArray[np.float64]:
    """Return (users,), the mean of `of_item` (items,) over each list, NaN for an empty list."""
    filled = ranked != NO_ITEM
    length = filled.sum(axis=1)
    total = np.where(filled, of_item[ranked], 0).sum(axis=1, dtype=np.float64)
    return np.divide(total, length, out=np.full(len(ranked), np.nan), where=length > 0)


def _mean_of_known(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _frequency(ranked: Ranked, n_items: int) -> Counts:
    return np.bincount(ranked[ranked != NO_ITEM], minlength=n_items).astype(np.int64)
