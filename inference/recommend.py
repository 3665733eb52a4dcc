"""Recommendations and scores of pairs, as DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from pyrorec.data import Entry, InputError
from pyrorec.data.checks import shown
from pyrorec.evaluation import item_counts, top_k
from pyrorec.inference.cold import extend
from pyrorec.inference.factor_features import strangers_features
from pyrorec.inference.intervention import Intervention
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import Run
from pyrorec.inference.scores import Reading, pair_surface, surface

LEVEL = 0.9
"""Probability of the interval between `lower` and `upper`."""
CHUNK_CELLS = 4_000_000
PAIRS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Question:
    """What is asked of which posterior; `read` is what the reading made of it (one draw of it under Thompson)."""

    posterior: Posterior
    read: Posterior
    intervention: Intervention
    reading: Reading


@torch.no_grad()
def recommend(
    run: Run,
    users: Iterable[Any] | None,
    k: int,
    intervention: Intervention,
    reading: Reading,
    items: Iterable[Any] | None = None,
    exclude: pd.DataFrame | None = None,
    include_seen: bool = False,
) -> pd.DataFrame:
    """The k best items of each user under an intervention: user_id, item_id, rank, score, sd, lower, upper.

    `users` None takes all users of the log. `items` are the candidates, by default the items seen in the
    log; `exclude` (user_id, item_id) leaves out more pairs. Seen pairs are left out unless `include_seen`.
    Users and items that the log does not know are scored from features or the population. `score` is on the
    scale of the outcome (click probability, expected count, rating), read by `reading`; `sd`, `lower` and
    `upper` (90 %) are the posterior's. Users with fewer than k candidates get shorter lists.
    """
    if k < 1:
        raise InputError(f"k is {k}; ask for at least one item per user.")
    check_question(intervention, reading)
    if exclude is not None:
        check_pairs(exclude, "excluded pairs")
    asked = run.posterior.users if users is None else unique_ids(users, "user")
    candidates = seen_items(run) if items is None else unique_ids(items, "item")
    posterior = extended(run, asked, candidates)
    user_codes, item_codes = posterior.users.get_indexer(asked), posterior.items.get_indexer(candidates)
    left_out = _left_out(run, posterior, exclude, include_seen)[:, item_codes].tocsr()
    question = Question(posterior, reading.prepare(posterior), intervention, reading)
    scores = _chunks(question, user_codes, item_codes)
    found, ranked = top_k(scores, left_out, np.ones(len(item_codes), bool), min(k, len(item_codes)))
    row, place = np.nonzero(ranked >= 0)
    pair_users, pair_items = found[row], item_codes[ranked[row, place]]
    table = _table(question, pair_users, pair_items, "score")
    table.insert(2, "rank", place + 1)
    table.attrs["notes"] = strangers(run, asked, candidates)
    return table


@torch.no_grad()
def score_pairs(run: Run, pairs: pd.DataFrame, intervention: Intervention, reading: Reading) -> pd.DataFrame:
    """The given pairs with `mean` (click probability, expected count or rating), `sd`, `lower` and `upper` (90 %).

    Pairs keep their order and their other columns. Unknown users and items are scored from features or the
    population, never dropped. Raises InputError where user_id or item_id is missing.
    """
    check_question(intervention, reading)
    check_pairs(pairs, "pairs")
    users, items = pd.Index(pairs["user_id"]), pd.Index(pairs["item_id"])
    posterior = extended(run, users.unique(), items.unique())
    question = Question(posterior, reading.prepare(posterior), intervention, reading)
    scored = _table(question, posterior.users.get_indexer(users), posterior.items.get_indexer(items), "mean")
    kept = pairs.drop(columns=[c for c in ("mean", "sd", "lower", "upper") if c in pairs.columns])
    table = pd.concat([kept.reset_index(drop=True), scored[["mean", "sd", "lower", "upper"]]], axis=1)
    table.attrs["notes"] = strangers(run, users.unique(), items.unique())
    return table


def check_pairs(pairs: pd.DataFrame, name: str) -> None:
    """Refuses a table without the two id columns, or with an id missing."""
    for column in ("user_id", "item_id"):
        if column not in pairs.columns:
            raise InputError(f"The {name} need a column {column!r}; they have {', '.join(map(str, pairs.columns))}.")
        if pairs[column].isna().any():
            raise InputError(f"Row {int(np.argmax(pairs[column].isna())) + 1} of the {name} has no {column}.")


def strangers(run: Run, users: pd.Index, items: pd.Index) -> list[str]:
    """A sentence for each side on which ids are unknown to the run, which a mistyped id would be."""
    sides = (("users", users, run.posterior.users), ("items", items, run.posterior.items))
    unknown = [(name, ids[known.get_indexer(ids) < 0], len(ids)) for name, ids, known in sides]
    return [
        f"{len(new):,} of {total:,} {name} are unknown to the run (the first is {shown(new[0])}) and are scored from "
        "features or the population."
        for name, new, total in unknown
        if len(new)
    ]


def check_question(intervention: Intervention, reading: Reading) -> None:
    """Refuses anything but an instance of an intervention and of a reading."""
    for value, kind, example in ((intervention, Intervention, "Deconfound()"), (reading, Reading, "PlugIn()")):
        if not isinstance(value, kind):
            raise InputError(f"{value!r} is no {kind.__name__.lower()}; give one such as {example}.")


def extended(run: Run, users: pd.Index, items: pd.Index) -> Posterior:
    """The run's posterior with rows for the users and items among these that it does not know."""
    new_users = users[run.posterior.users.get_indexer(users) < 0]
    new_items = items[run.posterior.items.get_indexer(items) < 0]
    if not len(new_users) and not len(new_items):
        return run.posterior
    user_features = strangers_features(run, "user") if len(new_users) else None
    item_features = strangers_features(run, "item") if len(new_items) else None
    return extend(run.posterior, new_users, new_items, user_features, item_features)


def unique_ids(ids: Iterable[Any], name: str) -> pd.Index:
    """The distinct ids of a list, in its order. Refuses an empty list, and text in place of a list."""
    if isinstance(ids, str):
        raise InputError(f"Give the {name}s as a list: [{ids!r}], not {ids!r}.")
    index = pd.Index(list(ids)) if not isinstance(ids, pd.Index) else ids
    if not len(index):
        raise InputError(f"The list of {name}s is empty; leave it out to take all of them.")
    return index.unique()


def seen_items(run: Run) -> pd.Index:
    """The items that have a cell in the run's log."""
    return run.posterior.items[item_counts(run.log.matrix(Entry.PATTERN)) > 0]


def _left_out(run: Run, posterior: Posterior, exclude: pd.DataFrame | None, include_seen: bool) -> sparse.csc_array:
    """Pairs that may not be recommended, as a pattern over the (extended) users and items."""
    pattern = run.log.matrix(Entry.PATTERN).tocoo()
    user, item = (pattern.row, pattern.col) if not include_seen else (np.empty(0, int), np.empty(0, int))
    if exclude is not None:
        more_users = posterior.users.get_indexer(pd.Index(exclude["user_id"]))
        more_items = posterior.items.get_indexer(pd.Index(exclude["item_id"]))
        known = (more_users >= 0) & (more_items >= 0)
        user, item = np.r_[user, more_users[known]], np.r_[item, more_items[known]]
    shape = (len(posterior.users), len(posterior.items))
    return sparse.csc_array((np.ones(len(user), np.float32), (user, item)), shape=shape)


def _chunks(question: Question, users: np.ndarray, items: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores of some users at a time over the candidate items."""
    columns = torch.as_tensor(items)
    for codes in np.array_split(users, max(1, len(users) * len(items) // CHUNK_CELLS)):
        cells = surface(question.read, question.intervention, torch.as_tensor(codes), columns)
        yield codes, question.reading.score(cells).numpy()


def _table(question: Question, users: np.ndarray, items: np.ndarray, name: str) -> pd.DataFrame:
    """Ids, score (as column `name`) and uncertainty of pairs given by code."""
    table = pd.concat([_described(question, u, i, name) for u, i in _split(users, items)], ignore_index=True)
    table.insert(0, "item_id", question.posterior.items.take(items))
    table.insert(0, "user_id", question.posterior.users.take(users))
    return table


def _split(users: np.ndarray, items: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = max(1, -(-len(users) // PAIRS_AT_ONCE))
    return list(zip(np.array_split(users, parts), np.array_split(items, parts), strict=True))


def _described(question: Question, users: np.ndarray, items: np.ndarray, name: str) -> pd.DataFrame:
    """The score is read off `question.read`, the uncertainty beside it off the posterior."""
    codes = torch.as_tensor(users), torch.as_tensor(items)
    cells = pair_surface(question.posterior, question.intervention, *codes)
    read = cells if question.read is question.posterior else pair_surface(question.read, question.intervention, *codes)
    columns = {
        name: question.reading.score(read),
        "sd": cells.sd(),
        "lower": cells.quantile((1 - LEVEL) / 2),
        "upper": cells.quantile((1 + LEVEL) / 2),
    }
    return pd.DataFrame({key: value.double().numpy() for key, value in columns.items()})
