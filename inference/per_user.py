"""Measures that have one value per user, for paired comparisons of which users are the unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from pyrorec.data import Interactions
from pyrorec.evaluation import evaluable_users, item_counts, per_user_ranking_metrics, score_chunks, top_k
from pyrorec.inference.evaluate import prepare
from pyrorec.inference.run import Run
from pyrorec.inference.validation import plug_in_scores

Scores = Callable[[np.ndarray], np.ndarray]


def ndcg_by_user(run: Run, held_out: Interactions, k: int = 10, scores: Scores | None = None) -> pd.Series:
    """NDCG@k of each user with a row in train and a held-out positive, by id; protocol and positives of `evaluate`.

    `scores` are a function of the run's user codes to (users, items), by default the run's own plug-in scores under
    Observe.
    """
    test, _ = prepare(run, held_out)
    users = evaluable_users(test.seen, test.positives)
    chunks = score_chunks(plug_in_scores(run.posterior) if scores is None else scores, users)
    found, ranked = top_k(chunks, test.seen, item_counts(test.seen) > 0, k)
    table = per_user_ranking_metrics(ranked, found, test.positives, at=(k,))
    return pd.Series(table[f"ndcg@{k}"].to_numpy(), index=run.posterior.users[table.index], name=f"ndcg@{k}")


def standard_error(per_unit: np.ndarray) -> float:
    """Standard error of a sum over independent units (units,), sqrt(n) times their sd; NaN for fewer than two."""
    return float(np.sqrt(len(per_unit)) * per_unit.std(ddof=1)) if len(per_unit) > 1 else float("nan")
