"""Policies: with which probability each item is shown to a user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax

from pyrorec.data import InputError
from pyrorec.data.checks import shown
from pyrorec.data.matching import written_as
from pyrorec.inference.intervention import Intervention, Observe
from pyrorec.inference.recommend import check_question, extended, seen_items, unique_ids
from pyrorec.inference.run import Run
from pyrorec.inference.scores import PlugIn, Reading, surface


class Rule(ABC):
    """From the scores of candidates to the probability of showing each."""

    @abstractmethod
    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Rows of scores (users, items) as rows of probabilities that add up to one."""


@dataclass(frozen=True)
class EpsilonGreedy(Rule):
    """The best item with probability 1 - epsilon, else any candidate with equal probability; 0 is greedy.

    Among equal scores the first in the order of the candidates is the best.
    """

    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise InputError(f"Epsilon is a probability between 0 and 1, not {self.epsilon}.")

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        chances = np.full(scores.shape, self.epsilon / scores.shape[1])
        chances[np.arange(len(scores)), scores.argmax(axis=1)] += 1 - self.epsilon
        return chances


@dataclass(frozen=True)
class Softmax(Rule):
    """In proportion to exp(score / temperature).

    The temperature is in the unit of the scores (a click probability, an expected count, a rating): where it is small
    against their differences the policy is greedy, where it is large it is uniform.
    """

    temperature: float

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and np.isfinite(self.temperature)):
            raise InputError(
                f"A temperature is above zero, not {self.temperature}; EpsilonGreedy() is its limit at zero."
            )

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        chances: np.ndarray = softmax(scores / self.temperature, axis=1)
        return chances


@dataclass(frozen=True, eq=False)
class Policy:
    """What is shown to whom: one item at a time, drawn anew for every impression.

    items: the candidates. probabilities: a function from user ids to their rows, (users, items), each adding up to one.
    run: where the policy comes from, None where it comes from no run. A user is whatever the choice depends on: where
    an item's place on the page matters, user and place together.
    """

    items: pd.Index
    probabilities: Callable[[pd.Index], np.ndarray]
    run: Run | None = None


def policy(
    run: Run,
    rule: Rule | None = None,
    *,
    intervention: Intervention | None = None,
    reading: Reading | None = None,
    items: Iterable[Any] | None = None,
) -> Policy:
    """The policy that shows items by a run's scores: greedy, Observe and plug-in unless said otherwise.

    `items` are the candidates, by default those of the run's log, for every user alike: nothing is left out for having
    been seen. Users and items that the run does not know are scored from features or the population. Raises InputError
    for an empty list and for what is no rule, intervention or reading.
    """
    rule, intervention, reading = rule or EpsilonGreedy(), intervention or Observe(), reading or PlugIn()
    check_question(intervention, reading)
    if not isinstance(rule, Rule):
        raise InputError(f"{rule!r} is no rule; give one such as EpsilonGreedy(0.1) or Softmax(0.01).")
    candidates = seen_items(run) if items is None else written_as(run.posterior.items, unique_ids(items, "item"))
    return Policy(
        candidates, lambda users: rule.probabilities(_scores(run, users, candidates, intervention, reading)), run
    )


def uniform_policy(items: Iterable[Any]) -> Policy:
    """Every item with the same probability."""
    candidates = unique_ids(items, "item")
    return Policy(candidates, lambda users: np.full((len(users), len(candidates)), 1 / len(candidates)))


def tabled_policy(table: pd.DataFrame) -> Policy:
    """The policy of a table: item_id, probability and, where it differs from user to user, user_id.

    What the table leaves out has probability zero. Raises InputError for a missing column, a pair that stands twice,
    negative probabilities, probabilities of a user that do not add up to one and, when asked, for a user that is not
    in the table.
    """
    for column in ("item_id", "probability"):
        if column not in table.columns:
            raise InputError(f"The policy needs a column {column!r}; it has {', '.join(map(str, table.columns))}.")
    everybody = "user_id" not in table.columns
    full = table.assign(user_id=0) if everybody else table
    if full.duplicated(["user_id", "item_id"]).any():
        raise InputError("Some item of the policy stands twice for one user; give each pair one probability.")
    rows = full.pivot(index="user_id", columns="item_id", values="probability").fillna(0.0)
    chances = rows.to_numpy(dtype=np.float64)
    totals = chances.sum(axis=1)
    if (chances < 0).any() or not np.allclose(totals, 1, atol=1e-6):
        raise InputError(
            f"A user's probabilities lie above zero and add up to one; those of {shown(rows.index[_worst(totals)])} "
            f"add up to {totals[_worst(totals)]:.6g}."
        )

    def of(users: pd.Index) -> np.ndarray:
        return np.repeat(chances, len(users), axis=0) if everybody else chances[_places(rows.index, users)]

    return Policy(pd.Index(rows.columns), of)


@torch.no_grad()
def _scores(run: Run, users: pd.Index, items: pd.Index, intervention: Intervention, reading: Reading) -> np.ndarray:
    """Scores (users, items) of ids, by a reading under an intervention."""
    users = written_as(run.posterior.users, users)
    posterior = extended(run, users, items)
    codes = torch.as_tensor(posterior.users.get_indexer(users)), torch.as_tensor(posterior.items.get_indexer(items))
    return reading.score(surface(reading.prepare(posterior), intervention, *codes)).double().numpy()


def _places(known: pd.Index, users: pd.Index) -> np.ndarray:
    places = known.get_indexer(written_as(known, users))
    if (places < 0).any():
        raise InputError(
            f"The policy has no probabilities for user {shown(users[int(np.argmax(places < 0))])}; add them."
        )
    return places


def _worst(totals: np.ndarray) -> int:
    return int(np.argmax(np.abs(totals - 1)))
