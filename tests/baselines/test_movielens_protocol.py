"""Both baselines on MovieLens-100K, 75/25 of the rows at random, every rating a click."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from pyrorec.baselines import Baseline, Ease, Popularity
from pyrorec.evaluation import (
    evaluable_users,
    item_counts,
    popularity_bias_metrics,
    ranking_metrics,
    score_chunks,
    top_k,
)

LOG = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "movielens_100k" / "interactions.parquet"
SEEDS = (42, 43, 44)


def split(seed: int) -> tuple[csr_matrix, csr_matrix]:
    """Return (train, test), the rows that scikit-learn's train_test_split(train_size=.75) would draw."""
    log = pd.read_parquet(LOG, columns=["user_id", "item_id"])
    users, items = log.user_id.factorize()[0], log.item_id.factorize()[0]
    order = np.random.RandomState(seed).permutation(len(log))
    n_test = len(log) - int(0.75 * len(log))
    shape = (users.max() + 1, items.max() + 1)
    test, train = (
        csr_matrix((np.ones(len(rows)), (users[rows], items[rows])), shape) for rows in (order[:n_test], order[n_test:])
    )
    return train, test


def measure(baseline: Baseline, seed: int) -> pd.Series:
    train, test = split(seed)
    scorer = baseline.fit(train)
    chunks = score_chunks(scorer.scores, evaluable_users(train, test))
    users, ranked = top_k(chunks, train, item_counts(train) > 0, 50)
    return pd.concat([ranking_metrics(ranked, users, test), popularity_bias_metrics(ranked, users, train)])


@pytest.mark.skipif(not LOG.exists(), reason=f"needs the MovieLens-100K log at {LOG}")
@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (
            Popularity(),
            {"ndcg@10": 0.252, "map@10": 0.054, "recall@10": 0.113, "recall@50": 0.287, "aplt@10": 0.0},
        ),
        (
            Ease(penalty=400),
            {"ndcg@10": 0.474, "map@10": 0.145, "recall@10": 0.224, "recall@50": 0.532, "aplt@10": 0.006},
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Baseline) else "",
)
def test_reference_figures(baseline: Baseline, expected: dict[str, float]) -> None:
    mean = pd.concat([measure(baseline, seed) for seed in SEEDS], axis=1).mean(axis=1)
    for name, value in expected.items():
        assert mean[name] == pytest.approx(value, abs=0.004 if name == "ndcg@10" else 0.002), name
    assert mean["arp@10"] == pytest.approx({"popularity": 335, "EASE": 240}[baseline.name], abs=2)
