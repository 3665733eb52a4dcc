"""Both baselines on MovieLens-100K, 75/25 of the rows at random, every rating a click."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import pyrorec as pr
from pyrorec.baselines import Baseline, Ease, Popularity, Train
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


def measure(baseline: Baseline, seed: int) -> pd.Series:
    parts = pr.split_random(pr.read_interactions(LOG), 0.25, seed)
    train, test = (Train(part).positives for part in parts)
    scorer = baseline.fit(Train(parts[0]))
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
