"""Choosing among runs by how well they predict what none of them has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
import pandas as pd

from pyrorec.data import InputError, Interactions
from pyrorec.inference.density import DRAWS, as_seen, refuse_unspread
from pyrorec.inference.judged_cells import JudgedCells, JudgedRows, by_row, judged
from pyrorec.inference.per_user import ndcg_by_user, standard_error
from pyrorec.inference.run import Run


def compare(
    runs: Mapping[str, Run],
    held_out: Interactions,
    *,
    at: int | Sequence[int] = (),
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Expected log predictive density (elpd) of held-out cells under each run, best first, indexed by name.

    Where a run couples the cells of a user (multinomial, Dirichlet) the density is that of each user's held-out cells
    given their total, for every run (`log_row_density`); there is then no `difference_se_cells`.

    `elpd` is the sum of log densities over `cells` cells of `users` users, `per_cell` its mean, each with a standard
    error; `difference` is elpd less that of the best. `elpd_se`, `per_cell_se` and `difference_se` take users as the
    independent units (cells of a user are not independent), the last of paired differences; `difference_se_cells` is
    what taking cells for independent would give. For each length in `at` follow NDCG (protocol of `evaluate`, Observe,
    plug-in), its difference to the run of best elpd, and the standard error of that paired over users.

    Only cells that every run knows and none was trained on; `.attrs["notes"]` says what was left out, and whether
    absent pairs were judged as zeros (see `judged_cells`). Densities are natural logarithms, Monte Carlo over `draws`
    joint posterior draws. Raises InputError for runs whose outcomes are on different scales, and beside a coupled run
    for one whose family has no known law of cells given their total.
    """
    check_scales(runs)
    lengths = (int(at),) if isinstance(at, Integral) else tuple(at)  # type: ignore[arg-type]
    units, notes = judged(list(runs.values()), held_out, seed)
    check_values_alike(runs, units)
    density = {name: units.weight * units.log_density(run, draws, seed) for name, run in runs.items()}
    best = max(density, key=lambda name: density[name].sum())
    table = pd.DataFrame({name: row(of, density[best], units) for name, of in density.items()}).T
    for k in lengths:
        table = table.join(ranking(runs, held_out, best, k))
    table = table.sort_values("elpd", ascending=False, kind="stable").rename_axis("model")
    table.attrs["notes"] = notes
    return table


def check_scales(runs: Mapping[str, Run]) -> None:
    """Refuses fewer than one run, and runs whose densities are of different events."""
    if not runs:
        raise InputError("There is nothing to compare: give at least one run by name.")
    rows = by_row(list(runs.values()))
    if rows:
        for each in runs.values():
            refuse_unspread(each.posterior.response)
    (first, run), *others = runs.items()
    for name, other in others:
        if event(other, rows) != event(run, rows):
            raise InputError(
                f"Run {first!r} predicts {described(run)} and run {name!r} {described(other)}: densities of different "
                "events cannot be compared; fit both on the same values, or compare their rankings by evaluate."
            )


def event(run: Run, rows: bool) -> tuple[object, bool]:
    """What a density of the run is a density of: the outcome, or how the total of a row is spread, and whether it is a
    probability of whole numbers."""
    response = run.posterior.response
    return "spread" if rows else response.outcome, bool(response.support.is_discrete)


def described(run: Run) -> str:
    """The outcome in words."""
    response = run.posterior.response
    return f"a {response.outcome.value} ({'probability' if response.support.is_discrete else 'density'})"


def check_values_alike(runs: Mapping[str, Run], units: JudgedCells) -> None:
    """Refuses runs of which some see the held-out values binarised and others as they are, if that differs."""
    (first, run), *others = runs.items()
    seen = as_seen(run, units.log)
    for name, other in others:
        theirs = as_seen(other, units.log)
        if not (np.array_equal(seen.value, theirs.value) and np.array_equal(seen.trials, theirs.trials)):
            raise InputError(
                f"One of the runs {first!r} and {name!r} binarises values and the other does not, so they predict "
                "different events: fit both with --binarise, or give a held-out log of zeros and ones."
            )


def row(density: np.ndarray, best: np.ndarray, units: JudgedCells) -> pd.Series:
    """Sums, means and standard errors of one run's log densities, beside those of the best."""
    cells, apart = units.weight.sum(), density - best
    error = standard_error(by_user(density, units))
    return pd.Series(
        {
            "cells": cells, "users": len(np.unique(units.user)),
            "elpd": density.sum(), "elpd_se": error,
            "per_cell": density.sum() / cells, "per_cell_se": error / cells,
            "difference": apart.sum(), "difference_se": standard_error(by_user(apart, units)),
            "difference_se_cells": np.nan if isinstance(units, JudgedRows) else standard_error(apart),
        }
    )  # fmt: skip


def by_user(each: np.ndarray, units: JudgedCells) -> np.ndarray:
    """Sums over each user's units."""
    _, user = np.unique(units.user, return_inverse=True)
    return np.bincount(user, weights=each)


def ranking(runs: Mapping[str, Run], held_out: Interactions, best: str, k: int) -> pd.DataFrame:
    """Mean NDCG@k over the users that every run can rank for, and its paired difference to the best run's."""
    table = pd.DataFrame({name: ndcg_by_user(run, held_out, k) for name, run in runs.items()}).dropna()
    apart = table.sub(table[best], axis=0)
    columns = {
        f"ndcg@{k}": table.mean(),
        f"ndcg@{k}_difference": apart.mean(),
        f"ndcg@{k}_difference_se": apart.apply(lambda users: standard_error(users.to_numpy()) / len(users)),
    }
    return pd.DataFrame(columns)
