"""What a policy would earn, from a log with propensities that another policy left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from pyrorec.data import Apart, InputError, Interactions
from pyrorec.data.matching import written_as
from pyrorec.evaluation import Decisions, Limits, doubly_robust, ips, overlap, snips
from pyrorec.evaluation.intervals import NORMAL, Interval, Ratio
from pyrorec.evaluation.overlap import USUAL, Overlap, require_honest_weights
from pyrorec.inference.policy import Policy, policy
from pyrorec.inference.recommend import CHUNK_CELLS, strangers, unique_ids
from pyrorec.inference.reward_model import CrossFit, Part, parts_of, unmodelled
from pyrorec.inference.run import Run

FEW_REWARDS = 30.0
"""Below so many effective rewards an interval is a guess about rewards that were not seen."""
DOUBTFUL = 2.0
"""Standard errors of the mean weight from one that are worth a word."""


@dataclass(frozen=True, eq=False)
class View:
    """Records as a policy and its reward model see them, arrays (records,).

    target: the policy's probability of the shown item. unshown: of items that could not be shown. predicted: the
    model's reward of the shown item (0 where the policy would never show it). expected: the same under the policy.
    """

    target: np.ndarray
    unshown: np.ndarray
    predicted: np.ndarray
    expected: np.ndarray


def off_policy(
    target: Run | Policy,
    log: Interactions,
    *,
    model: Run | CrossFit | None = None,
    could_show: Iterable[Any] | None = None,
    by_user: bool = True,
    interval: Interval = NORMAL,
    limits: Limits = USUAL,
) -> pd.DataFrame:
    """The value of a policy, the mean reward of an impression, by rows ips, snips and dr.

    `target` is a policy, or a run for its greedy one. `log` holds the impressions of another policy, one record each
    (read it with duplicates=Apart()), with the propensity of each. The reward is the log's value, or whether it is
    above zero where the reward model binarises. dr takes its reward model from `model`: a run fitted to another log, by
    default the target's own (a split), or `CrossFit` of a model to this log; without any there is no row dr.
    `could_show` are the items that the logging policy could show, by default those with a record. Standard errors take
    users for the independent units, and speak of users like these; with by_user=False they take records.

    Columns value, se, lower, upper, method, records, effective (sample size), rewarded (effective number of rewards),
    largest_weight, mean_weight with its standard error, and unshown (see `pyrorec.evaluation.overlap`).
    `.attrs["notes"]` says what the log's own policy earned, and what to doubt.

    Raises InputError for a log without propensities or with merged records, NoOverlap where `limits` are passed.
    """
    propensity = checked_propensities(log)
    chosen = target if isinstance(target, Policy) else policy(target)
    source = model or chosen.run
    seen = log.binarised() if source is not None and source.spec.binarise else log
    parts = [unmodelled(log)] if source is None else parts_of(source, seen)
    view = seen_by(chosen, seen, parts, showable(chosen, log, could_show))
    decisions = Decisions(
        seen.value, propensity, view.target, unshown=view.unshown, cluster=log.user if by_user else None
    )
    found = {name: estimate(decisions, interval, limits) for name, estimate in (("ips", ips), ("snips", snips))}
    require_honest_weights(overlap(decisions), limits)
    if source is not None:
        found["dr"] = doubly_robust(decisions, view.predicted, view.expected, interval, limits)
    table = pd.DataFrame({name: estimate.row() for name, estimate in found.items()}).T.infer_objects()
    about = about_run(source, log) if isinstance(source, Run) else []
    table.attrs["notes"] = [earned(seen, decisions.cluster, interval), *doubts(overlap(decisions)), *about]
    return table.rename_axis("estimator")


def checked_propensities(log: Interactions) -> np.ndarray:
    """The propensity of every record, (records,). Refuses a log without them, and one whose records were merged."""
    if log.propensity is None:
        raise InputError(
            "The log has no propensities, and without the probability with which each item was shown it says nothing "
            "of another policy: name that column (1 / items where items were shown uniformly at random)."
        )
    if (log.aggregation and not isinstance(log.rule, Apart)) or (log.trials != 1).any():
        raise InputError(
            "Every impression needs its own propensity, and repeated records of a pair were merged: read the log with "
            "duplicates=Apart()."
        )
    return log.propensity


def showable(chosen: Policy, log: Interactions, could_show: Iterable[Any] | None) -> np.ndarray:
    """Which of the policy's items the logging policy could show, bool (items,)."""
    ids = log.items[log.item_counts > 0] if could_show is None else unique_ids(could_show, "item")
    return np.asarray(chosen.items.isin(written_as(chosen.items, ids)))


def seen_by(chosen: Policy, log: Interactions, parts: list[Part], showable: np.ndarray) -> View:
    """The records of a log as a policy sees them, and as each part's reward model does."""
    place = np.asarray(chosen.items.get_indexer(written_as(chosen.items, log.items)))[log.item]
    view = View(*(np.zeros(len(log)) for _ in fields(View)))
    for part in parts:
        for records in by_users(log, part.records, len(chosen.items)):
            users, row = np.unique(log.user[records], return_inverse=True)
            chances = chosen.probabilities(log.users[users])
            rewards = part.rewards(log.users[users], chosen.items)
            candidate = place[records] >= 0
            view.target[records] = np.where(candidate, chances[row, place[records]], 0.0)
            view.predicted[records] = np.where(candidate, rewards[row, place[records]], 0.0)
            view.unshown[records] = chances[:, ~showable].sum(axis=1)[row]
            view.expected[records] = (chances * rewards).sum(axis=1)[row]
    return view


def by_users(log: Interactions, records: np.ndarray, items: int) -> Iterator[np.ndarray]:
    """Records of some users at a time, so that users x items never stands in memory."""
    users = np.unique(log.user[records])
    order = records[np.argsort(log.user[records], kind="stable")]
    for some in np.array_split(users, max(1, len(users) * items // CHUNK_CELLS)):
        first, last = np.searchsorted(log.user[order], [some[0], some[-1] + 1])
        yield order[first:last]


def earned(log: Interactions, cluster: Any, interval: Interval) -> str:
    """What the log's own policy earned."""
    se, lower, upper = interval.around(own := Ratio.of(log.value, np.ones(len(log)), cluster))
    return (
        f"The log's own policy earned {own.value:.4g} an impression (standard error {se:.2g}, {interval.level:.0%} "
        f"interval {lower:.4g} to {upper:.4g})."
    )


def doubts(found: Overlap) -> list[str]:
    """What the weights give reason to doubt."""
    notes = []
    if found.rewarded < FEW_REWARDS:
        notes.append(
            f"The value rests on {found.rewarded:.1f} effective rewards: the intervals are too narrow to be believed."
        )
    if abs(found.departure) > DOUBTFUL:
        notes.append(
            f"Weights average {found.mean_weight:.3g} (standard error {found.mean_weight_se:.2g}) where 1 is "
            "expected: the propensities may be off, or rare large weights are missing by chance, which ips "
            "feels and snips less."
        )
    return notes


def about_run(run: Run, log: Interactions) -> list[str]:
    """Records that the reward model may have been fitted to, and ids that it does not know."""
    again = int(fitted_to(run, log).sum())
    notes = strangers(run, written_as(run.posterior.users, log.users), written_as(run.posterior.items, log.items))
    if again:
        notes.append(
            f"{again:,} of {len(log):,} records agree with one of the reward model's own log in user, item and, where "
            "both are dated, time: if they are the same, the run is judged by what it learnt; give a log apart, or "
            "CrossFit."
        )
    return notes


def fitted_to(run: Run, log: Interactions) -> np.ndarray:
    """Which records of a log, bool (records,), have the user, the item and (where both are dated) the time of one that
    the run was fitted to."""
    mine, other = [run.log.user, run.log.item], [*log.recode(run.log.users, run.log.items)]
    if run.log.timestamp is not None and log.timestamp is not None:
        mine, other = [*mine, run.log.timestamp], [*other, log.timestamp]
    return np.asarray(pd.MultiIndex.from_arrays(other).isin(pd.MultiIndex.from_arrays(mine)))
