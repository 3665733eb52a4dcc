"""Area under the ROC curve, over all cells and within users, for cells of several trials.

A cell of `trials` impressions with `clicks` clicks counts as `clicks` ones and `trials - clicks` zeros.
Scores may be on any scale: only their order counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def auc(scores: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike) -> float:
    """Probability that a random one is scored above a random zero, ties counting one half (Mann-Whitney).

    NaN where all outcomes are the same.
    """
    scores = np.asarray(scores)
    return within_user_auc(np.zeros(len(scores), np.int64), scores, clicks, trials)


def within_user_auc(users: npt.ArrayLike, scores: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike) -> float:
    """Plain mean of the AUC over the users who have both outcomes; NaN where there is no such user.

    `users` (cells,) holds the user code of each cell.
    """
    per_user = _auc_per_group(np.asarray(users), np.asarray(scores), clicks, trials)
    both = per_user[~np.isnan(per_user)]
    return float(both.mean()) if len(both) else np.nan


def _auc_per_group(
    groups: npt.NDArray[np.integer],
    scores: npt.NDArray[np.floating],
    clicks: npt.ArrayLike,
    trials: npt.ArrayLike,
) -> npt.NDArray[np.float64]:
    """Return the AUC of every group in increasing order of its code, NaN where it has a single outcome."""
    if np.isnan(scores).any():
        raise ValueError("Some scores are NaN; the AUC needs scores that can be ordered.")
    order = np.lexsort((scores, groups))
    groups, scores = groups[order], scores[order]
    ones = np.asarray(clicks, dtype=np.float64)[order]
    zeros = np.asarray(trials, dtype=np.float64)[order] - ones
    new_group, new_score = _changes(groups), _changes(groups) | _changes(scores)
    starts = np.flatnonzero(new_score)
    # One entry per distinct (group, score): tied cells share it, which gives them their midrank.
    ones, zeros = np.add.reduceat(ones, starts), np.add.reduceat(zeros, starts)
    first = np.flatnonzero(new_group[starts])
    group_of = np.cumsum(new_group[starts]) - 1
    zeros_before = zeros.cumsum() - zeros
    zeros_below = zeros_before - zeros_before[first][group_of]
    won = np.add.reduceat(ones * (zeros_below + zeros / 2), first)
    pairs = np.add.reduceat(ones, first) * np.add.reduceat(zeros, first)
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def _changes(ordered: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Return true where a value differs from the one before it, and for the first."""
    return np.concatenate([np.ones(min(len(ordered), 1), np.bool_), ordered[1:] != ordered[:-1]])
