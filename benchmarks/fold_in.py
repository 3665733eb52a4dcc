"""Folding in users whom training never saw, on MovieLens-100K: what of their NDCG@10 is left.

    python -m benchmarks.fold_in LOG [--seeds 42 43 44] [--output FILE]

LOG, splits, metric and settings are those of `benchmarks.ranking_p1`: a quarter of the rows is the test. A tenth of the
users is drawn at random. One fit trains on the train rows of everybody; the other never sees those users, and reads
their train rows (three quarters of each row) by `fold_in`. Both are judged on the same users' test rows, seen items
left out, and popularity beside them. The standard error is that of the paired difference over those users.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pyrorec as pr
from benchmarks.ranking_p1 import MODELS, TRAINING
from pyrorec.inference.per_user import Scores, ndcg_by_user
from pyrorec.inference.run import Run

SHARE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    log = pr.read_interactions(arguments.log)
    table = pd.concat([one_split(log, seed) for seed in arguments.seeds], ignore_index=True)
    print(table.round(4).to_string(index=False))
    print(table.groupby("model", sort=False)[["trained", "folded", "share", "popularity"]].mean().round(4).to_string())
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def one_split(log: pr.Interactions, seed: int) -> pd.DataFrame:
    """Both models on one split, trained on everybody and without a tenth of the users."""
    train, test = pr.split_random(log, 0.25, seed)
    rest, held_out = pr.hold_out_users(train, SHARE, seed)
    rows = []
    for name, model in MODELS.items():
        run = fitted(model, train)
        trained = judged(run, test, held_out.users)
        folded = judged(pr.fold_in(fitted(model, rest), held_out), test, held_out.users)
        popular = judged(run, test, held_out.users, lambda codes: np.tile(train.item_counts, (len(codes), 1)))
        apart = (folded - trained).dropna()
        rows.append(
            {
                "model": name, "seed": seed, "users": len(apart), "trained": trained.mean(), "folded": folded.mean(),
                "share": folded.mean() / trained.mean(), "difference_se": apart.sem(),
                "popularity": popular.mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def fitted(model: pr.BilateralModel, log: pr.Interactions) -> Run:
    """A fit of seed 0 with the settings of `ranking_p1`."""
    return pr.fit(model, log, seed=0, training=TRAINING, context=pr.Context(progress=False))


def judged(run: Run, test: pr.Interactions, users: pd.Index, scores: Scores | None = None) -> pd.Series:
    """NDCG@10 of each of these users that has a test positive, by id."""
    return ndcg_by_user(run, test, 10, scores).reindex(users).dropna()


if __name__ == "__main__":
    main()
