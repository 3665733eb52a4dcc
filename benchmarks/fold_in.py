"""Folding in users whom training never saw, on MovieLens-100K: what of their NDCG@10 is left.

    python -m benchmarks.fold_in LOG [--features FOLDER] [--seeds 42 43 44] [--output FILE]

LOG, splits, metric and settings are those of `benchmarks.ranking_p1`: a quarter of the rows is the test. A tenth of the
users is drawn at random. One fit trains on the train rows of everybody; the other never sees those users, and reads
their train rows (three quarters of each row) by `fold_in`. Both are judged on the same users' test rows, seen items
left out, and popularity beside them. The standard error is that of the paired difference over those users.

With --features, FOLDER holds user_features.parquet and item_features.parquet of MovieLens-100K, and the models are
those of `CAP`, whose priors read them; the second fit, and so its encoding of features, has no row of users it has not
seen.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pyrorec as pr
from benchmarks.cap import year_and_genres
from benchmarks.ranking_p1 import MODELS, TRAINING
from pyrorec.inference.per_user import Scores, ndcg_by_user
from pyrorec.inference.run import Run

SHARE = 0.1
MLP = pr.Cap(hidden=(64,))
CAP = {f"{name}, CAP": replace(model, user_prior=MLP, item_prior=MLP) for name, model in MODELS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--features", type=Path, help="folder of feature tables: models with priors that read them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    log = pr.read_interactions(arguments.log, **(tables(arguments.features) if arguments.features else {}))
    models = CAP if arguments.features else MODELS
    table = pd.concat([one_split(log, models, seed) for seed in arguments.seeds], ignore_index=True)
    print(table.round(4).to_string(index=False))
    print(table.groupby("model", sort=False)[["trained", "folded", "share", "popularity"]].mean().round(4).to_string())
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Users' features without zip codes; items' are year and genres, as in `benchmarks.cap`."""
    users = pd.read_parquet(folder / "user_features.parquet").drop(columns="zip")
    return {"user_features": users, "item_features": year_and_genres(folder)}


def one_split(log: pr.Interactions, models: dict[str, pr.BilateralModel], seed: int) -> pd.DataFrame:
    """Each model on one split, trained on everybody and without a tenth of the users."""
    train, test = pr.split_random(log, 0.25, seed)
    rest, held_out = pr.hold_out_users(train, SHARE, seed)
    if rest.user_features is not None:
        rest = replace(rest, user_features=rest.user_features.loc[rest.users])
    rows = []
    for name, model in models.items():
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
