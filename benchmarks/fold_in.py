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
from pyrorec.evaluation import per_user_ranking_metrics, positives, score_chunks, top_k
from pyrorec.inference.run import Run
from pyrorec.inference.validation import plug_in_scores

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
        trained = judged(fitted(model, train), test, held_out.users)
        folded = judged(pr.fold_in(fitted(model, rest), held_out), test, held_out.users)
        apart = (folded - trained).dropna()
        rows.append(
            {
                "model": name, "seed": seed, "users": len(apart), "trained": trained.mean(), "folded": folded.mean(),
                "share": folded.mean() / trained.mean(), "difference_se": apart.sem(),
                "popularity": popularity(train, test, held_out.users).mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def fitted(model: pr.BilateralModel, log: pr.Interactions) -> Run:
    """A fit of seed 0 with the settings of `ranking_p1`."""
    return pr.fit(model, log, seed=0, training=TRAINING, context=pr.Context(progress=False))


def judged(run: Run, test: pr.Interactions, users: pd.Index) -> pd.Series:
    """NDCG@10 of each of these users, by id."""
    return ndcg(run.log, test, users, plug_in_scores(run.posterior))


def popularity(train: pr.Interactions, test: pr.Interactions, users: pd.Index) -> pd.Series:
    """The same of the most popular items for everybody."""
    counts = train.item_counts.astype(float)
    return ndcg(train, test, users, lambda codes: np.tile(counts, (len(codes), 1)))


def ndcg(log: pr.Interactions, test: pr.Interactions, users: pd.Index, scores) -> pd.Series:  # type: ignore[no-untyped-def]
    """NDCG@10 by user id of scores that are in the codes of `log`, whose cells are left out."""
    user, item = test.recode(log.users, log.items)
    column = np.where(item < 0, log.n_items + test.item, item)  # an item unknown to the log counts in the ideal
    held_out = pr.Interactions(
        users=log.users, items=pd.RangeIndex(log.n_items + test.n_items), user=user, item=column,
        value=np.ones(len(test)), trials=np.ones(len(test)),
    )  # fmt: skip
    codes = log.users.get_indexer(users)
    found, ranked = top_k(score_chunks(scores, codes), positives(log.matrix()), log.item_counts > 0, 10)
    table = per_user_ranking_metrics(ranked, found, positives(held_out.matrix()), at=(10,))
    return pd.Series(table["ndcg@10"].to_numpy(), index=log.users[table.index])


if __name__ == "__main__":
    main()
