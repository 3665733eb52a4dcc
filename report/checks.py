"""Predictions against what happened: on a test log with true negatives, and on the train log itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from pyrorec.data import InputError, Interactions
from pyrorec.evaluation import reliability_table
from pyrorec.inference.evaluate import default_interventions, prepare, run_scorer
from pyrorec.inference.intervention import Deconfound, Observe
from pyrorec.inference.observations import cells
from pyrorec.inference.run import Run
from pyrorec.inference.scores import Predictive, pair_surface
from pyrorec.models.families import Outcome
from pyrorec.report.numbers import sampled_users

CHECKED_CELLS = 300_000
"""Train cells whose prediction is compared with what was observed."""
CELLS_AT_ONCE = 50_000


def reliability(run: Run, test: Interactions) -> dict[str, pd.DataFrame]:
    """`reliability_table` of the explicit test cells under Observe and, with popularity, Deconfound.

    Raises InputError with the reason where the test log cannot check a probability.
    """
    explicit, reason = _explicit(run, test)
    if explicit is None:
        raise InputError(reason)
    tables = {}
    for name, intervention in default_interventions(run).items():
        if isinstance(intervention, Observe | Deconfound):
            p = in_chunks(run_scorer(run, name, intervention).pairs, explicit.user, explicit.item)
            tables[name] = reliability_table(p, explicit.value, explicit.trials)
    return tables


def _explicit(run: Run, test: Interactions) -> tuple[Interactions | None, str]:
    prepared, _ = prepare(run, test)
    return prepared.explicit, prepared.reason.removeprefix("Calibration is NaN: ").capitalize()


def checked_cells(run: Run) -> pd.DataFrame:
    """Train cells as item, weight, predicted and observed (value per trial, posterior predictive under Observe).

    Where missing cells are zeros: all cells of some users, missing ones with their weight. Otherwise observed
    cells. At most `CHECKED_CELLS`, sampled with the run's seed.
    """
    user, item, value, trials = _rows_of_some_users(run) if run.log.missing.weight else _some_observed_cells(run)
    weight = np.where(trials > 0, trials, run.log.missing.weight)
    observed = value if run.spec.outcome.graded else value / weight
    predicted = in_chunks(_predictive(run), user, item)
    return pd.DataFrame({"item": item, "weight": weight, "predicted": predicted, "observed": observed})


def _rows_of_some_users(run: Run) -> tuple[np.ndarray, ...]:
    """Codes of user and item, value and trials of every cell of sampled users; a missing cell has no trials."""
    value, trials = cells(run.log, run.spec)
    users = sampled_users(run, CHECKED_CELLS)
    user, item = np.repeat(users, run.log.n_items), np.tile(np.arange(run.log.n_items), len(users))
    return user, item, value[users].toarray().ravel(), trials[users].toarray().ravel()


def _some_observed_cells(run: Run) -> tuple[np.ndarray, ...]:
    """Codes of user and item, value and trials of sampled cells that were tried at least once."""
    value, trials = (matrix.tocoo() for matrix in cells(run.log, run.spec))
    tried = np.flatnonzero(trials.data > 0)
    chosen = np.sort(np.random.default_rng(run.seed).permutation(tried)[:CHECKED_CELLS])
    return value.row[chosen], value.col[chosen], value.data[chosen], trials.data[chosen]


def _predictive(run: Run) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    @torch.no_grad()
    def mean(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        surface = pair_surface(run.posterior, Observe(), torch.as_tensor(users), torch.as_tensor(items))
        return Predictive().score(surface).double().numpy()

    return mean


def in_chunks(
    pairs: Callable[[np.ndarray, np.ndarray], np.ndarray], users: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """`pairs(users, items)` for few pairs at a time, so that memory stays bounded."""
    parts = max(1, -(-len(users) // CELLS_AT_ONCE))
    split = zip(np.array_split(users, parts), np.array_split(items, parts), strict=True)
    return np.concatenate([pairs(u, i) for u, i in split])


def by_prediction(table: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Weighted mean `predicted` and `observed` of checked cells by groups of about equal weight, with `se`.

    Cells are ordered by prediction; se = sqrt(sum w^2 (y - mean)^2) / sum w, cells taken as independent.
    """
    ordered = table.sort_values("predicted", kind="stable")
    weight, observed = ordered.weight.to_numpy(), ordered.observed.to_numpy()
    middle = (weight.cumsum() - weight / 2) / weight.sum()
    _, group = np.unique(np.minimum((middle * bins).astype(int), bins - 1), return_inverse=True)
    total = np.bincount(group, weight)
    means = {name: np.bincount(group, weight * ordered[name]) / total for name in ("predicted", "observed")}
    apart = weight * (observed - means["observed"][group])
    return pd.DataFrame(means).assign(se=np.sqrt(np.bincount(group, apart**2)) / total)


def item_sums(table: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """Predicted and observed totals of each item over checked cells; means for ratings."""
    weighted = table[["predicted", "observed"]].mul(table.weight, axis=0).groupby(table.item).sum()
    if outcome.graded:
        return weighted.div(table.weight.groupby(table.item).sum(), axis=0)
    return weighted
