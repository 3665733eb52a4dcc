"""The held-out cells, or rows of them, that several runs can be judged on alike, absent pairs among them where those
are zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from pyrorec.data import Entry, InputError, Interactions
from pyrorec.inference.density import as_seen, log_density, log_row_density
from pyrorec.inference.run import Run
from pyrorec.models.families import Outcome

ZEROS_PER_USER = 100
"""Absent pairs drawn for each user, who together stand for all of the user's."""


@dataclass(frozen=True)
class JudgedCells:
    """Cells under ids that every run knows, each a unit of its own with the number of pairs it stands for, (cells,)."""

    log: Interactions
    weight: np.ndarray

    def of(self, run: Run) -> Interactions:
        """The cells in a run's codes."""
        user, item = self.log.recode(run.posterior.users, run.posterior.items)
        return replace(self.log, users=run.posterior.users, items=run.posterior.items, user=user, item=item)

    @property
    def user(self) -> np.ndarray:
        """The user of each unit, as a code of the log, (units,)."""
        return self.log.user

    def log_density(self, run: Run, draws: int, seed: int) -> np.ndarray:
        """Log predictive density of each unit under a run, for one of the pairs it stands for, (units,)."""
        return log_density(run.posterior, as_seen(run, self.of(run)), draws, seed)


@dataclass(frozen=True)
class JudgedRows(JudgedCells):
    """The cells of users, a user's together one unit, each with the number of its cells (users,): how their total is
    spread over them."""

    @property
    def user(self) -> np.ndarray:
        return np.unique(self.log.user)

    def log_density(self, run: Run, draws: int, seed: int) -> np.ndarray:
        """That of the row given its total, divided by the number of its cells."""
        cells = as_seen(run, self.of(run))
        _, first = np.unique(self.log.user, return_index=True)
        each: np.ndarray = log_row_density(run.posterior, cells, draws, seed)[cells.user[first]] / self.weight
        return each


def judged(runs: Sequence[Run], held_out: Interactions, seed: int) -> tuple[JudgedCells, list[str]]:
    """What the runs are judged on: rows where one of them couples a user's cells, else cells."""
    return judged_rows(runs, held_out, seed) if by_row(runs) else judged_cells(runs, held_out, seed)


def by_row(runs: Sequence[Run]) -> bool:
    """Whether one of the runs knows no density of single cells."""
    return any(run.posterior.response.coupled for run in runs)


def judged_cells(runs: Sequence[Run], held_out: Interactions, seed: int) -> tuple[JudgedCells, list[str]]:
    """The cells whose user and item every run knows and whose pair none was trained on, and what is to be said of them.

    Where the held-out log has no zero and every run takes absent cells for zeros, pairs in no log are drawn as zeros:
    judged on positives alone, whoever expects more of everything would win. Raises InputError where no cell is left.
    """
    cells, notes = new_to_all(runs, held_out)
    kept = JudgedCells(cells, np.ones(len(cells)))
    if not one_sided(runs, cells):
        return kept, notes
    if all(run.log.missing.weight for run in runs):
        return with_zeros(kept, runs, bare(held_out), seed), [*notes, ZEROS_DRAWN]
    return kept, [*notes, ONE_SIDED]


def judged_rows(runs: Sequence[Run], held_out: Interactions, seed: int) -> tuple[JudgedRows, list[str]]:
    """The same cells as rows, without users whose total says nothing: of fewer than two cells, or of zero.

    Drawn absent pairs stand for themselves alone: which of some items a user's events fell on is a law of its own.
    Raises InputError where no row is left.
    """
    cells, notes = new_to_all(runs, held_out)
    if one_sided(runs, cells) and all(run.log.missing.weight for run in runs):
        cells = with_zeros(JudgedCells(cells, np.ones(len(cells))), runs, bare(held_out), seed).log
        notes = [*notes, CHOICES_DRAWN]
    number = np.bincount(cells.user, minlength=cells.n_users)
    telling = (number > 1) & (np.bincount(cells.user, cells.value, minlength=cells.n_users) > 0)
    if not telling.any():
        raise InputError("No user has two held-out cells, so how a total is spread cannot be judged: hold out more.")
    if (silent := int(((number > 0) & ~telling).sum())) > 0:
        notes = [
            *notes,
            f"Users with one held-out cell or zeros alone say nothing of their total: {silent:,} left out.",
        ]
    return JudgedRows(cells.select(telling[cells.user]), number[telling].astype(np.float64)), notes


def bare(held_out: Interactions) -> Interactions:
    """One cell for each pair, without features."""
    return replace(held_out.pooled(), user_features=None, item_features=None)


def new_to_all(runs: Sequence[Run], held_out: Interactions) -> tuple[Interactions, list[str]]:
    """The cells that every run knows the user and item of and none was trained on, and how many were left out."""
    cells, notes = bare(held_out), []
    known, trained = known_to_all(runs, cells), trained_on(runs, cells)
    if not known.all():
        notes.append(f"{int((~known).sum()):,} of {len(cells):,} cells name users or items unknown to a run: left out.")
    if (again := int((known & trained).sum())) > 0:
        notes.append(f"{again:,} of {len(cells):,} cells are in a run's own log: left out.")
    kept = cells.select(known & ~trained)
    if not len(kept):
        raise InputError("No held-out cell is known to every run and new to all; check the ids, or give a later log.")
    return kept, notes


def one_sided(runs: Sequence[Run], cells: Interactions) -> bool:
    """Whether zeros are missing among the cells: values that could have been zero are all above it."""
    families = [run.posterior.response for run in runs]
    return bool((cells.value > 0).all()) and all(
        family.outcome is not Outcome.RATING and bool(family.support.check(torch.zeros(()))) for family in families
    )


ZEROS_DRAWN = (
    f"The held-out log has no zeros and absent cells are zeros: up to {ZEROS_PER_USER} absent pairs a user are judged "
    "as well, weighted so that they stand for all. Held-out cells are rarer than those of train, and a run's level is "
    "that of train, which costs every run something."
)
CHOICES_DRAWN = (
    f"The held-out log has no zeros and absent cells are zeros: up to {ZEROS_PER_USER} absent items a user are drawn, "
    "and a user's total is spread over these and the held-out items."
)
ONE_SIDED = (
    "The held-out log has no zeros, so a run that expects more of everything gains: give a log with zeros, or compare "
    "rankings."
)


def known_to_all(runs: Sequence[Run], cells: Interactions) -> np.ndarray:
    """Whether every run knows the user and the item of each cell."""
    codes = [cells.recode(run.posterior.users, run.posterior.items) for run in runs]
    known: np.ndarray = np.all([(user >= 0) & (item >= 0) for user, item in codes], axis=0)
    return known


def trained_on(runs: Sequence[Run], cells: Interactions) -> np.ndarray:
    """Whether each cell's pair is in the log of any run."""
    found = np.zeros(len(cells), bool)
    for run in runs:
        user, item = cells.recode(run.posterior.users, run.posterior.items)
        inside = (user >= 0) & (item >= 0)
        found[inside] |= np.asarray(run.log.matrix(Entry.PATTERN)[user[inside], item[inside]] > 0)
    return found


def with_zeros(judged: JudgedCells, runs: Sequence[Run], cells: Interactions, seed: int) -> JudgedCells:
    """The cells with drawn absent pairs of their users behind them, as zeros of one trial."""
    users = judged.log.users[np.unique(judged.log.user)]
    items = common([run.posterior.items for run in runs])
    taken = pairs_of([cells, *(run.log for run in runs)], users, items)
    rng = np.random.default_rng([seed, 11])
    rows = [drawn_absent(taken[code], len(items), rng) for code in range(len(users))]
    user = np.repeat(np.arange(len(users)), [len(row) for row, _ in rows])
    item = np.concatenate([row for row, _ in rows])
    weight = np.concatenate([np.full(len(row), absent / max(len(row), 1)) for row, absent in rows])
    old_user, old_item = judged.log.recode(users, items)
    log = Interactions(
        users=users, items=items, missing=cells.missing,
        user=np.concatenate([old_user, user]), item=np.concatenate([old_item, item]),
        value=np.concatenate([judged.log.value, np.zeros(len(user))]),
        trials=np.concatenate([judged.log.trials, np.ones(len(user))]),
    )  # fmt: skip
    return JudgedCells(log, np.concatenate([judged.weight, weight]))


def common(indices: Sequence[pd.Index]) -> pd.Index:
    """The ids in every index, in the order of the first."""
    first, *others = indices
    return first[np.all([np.ones(len(first), bool), *(first.isin(other) for other in others)], axis=0)]


def pairs_of(logs: Sequence[Interactions], users: pd.Index, items: pd.Index) -> list[np.ndarray]:
    """For each user the codes of the items with a cell in any of the logs."""
    codes = [log.recode(users, items) for log in logs]
    user, item = (np.concatenate([pair[side] for pair in codes]) for side in (0, 1))
    inside = (user >= 0) & (item >= 0)
    flat = np.unique(user[inside] * len(items) + item[inside])
    return np.split(flat % len(items), np.searchsorted(flat // len(items), np.arange(1, len(users))))


def drawn_absent(taken: np.ndarray, items: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """At most `ZEROS_PER_USER` of the items not taken, without replacement, and how many there are."""
    absent = np.setdiff1d(np.arange(items), taken, assume_unique=True)
    return rng.permutation(absent)[:ZEROS_PER_USER], len(absent)
