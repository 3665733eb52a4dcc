"""Items held out of MovieLens-100K entirely, ranked from their features: CAP priors against ridge regression.

    python -m benchmarks.cap FOLDER [--seeds 0 1 2 3 4] [--epochs 40] [--output FILE]

FOLDER holds interactions.parquet, item_features.parquet and user_features.parquet of MovieLens-100K. A tenth of the
items, drawn with the seed, loses all its records; every rating of the others is a click of train. Users with a record
among the held-out items are test users, and rank the held-out items alone, so chance is high. Year of release and
genres are the items' features. Without CAP the factors of a held-out item come from the ridge regression of
`pyrorec.inference.cold`; popularity knows no count of a held-out item, so it ranks them in no order: its row is the
mean over random orders. Popularity by features is one order for all, by ridge regression of log(1 + count) on the
features and ten bins of the year. Every fit has the same settings and one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pyrorec as pr
from pyrorec.data import encode_features
from pyrorec.inference.collapse import collapse_summary
from pyrorec.inference.recommend import extended
from pyrorec.models.factor_priors import FactorPrior

PRIORS: dict[str, FactorPrior] = {"no CAP": pr.Standard(), "CAP, linear": pr.Cap(), "CAP, MLP": pr.Cap(hidden=(64,))}
PREDICTORS = {"plain": pr.Plain(), "frailty": pr.LogAdditive()}
RANDOM_ORDERS = 20
"""Orders over which the row of popularity averages."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.concat([one_seed(arguments.folder, seed, arguments.epochs) for seed in arguments.seeds])
    if arguments.output:
        table.to_csv(arguments.output, index=False)
    groups = table.groupby(["predictor", "prior"], sort=False)
    print(groups.agg(["mean", "sem"]).drop(columns="seed", level=0).round(4).to_string())
    print(differences(table).round(4).to_string())


def one_seed(folder: Path, seed: int, epochs: int) -> pd.DataFrame:
    """Every prior under every predictor, with one set of held-out items."""
    log, test, held = hold_items_out(folder, seed)
    users = pd.Index(np.intersect1d(test["user_id"].unique(), log.users))
    relevant = pd.crosstab(test["user_id"], test["item_id"]).reindex(index=users, columns=held, fill_value=0).to_numpy()
    random = np.random.default_rng(seed)
    chance = np.mean([ndcg(random.random(relevant.shape), relevant) for _ in range(RANDOM_ORDERS)])
    guessed = np.tile(popularity_by_features(log, held), (len(users), 1))
    lines = [
        {"predictor": "-", "prior": "popularity", "seed": seed, "ndcg@10": chance},
        {"predictor": "-", "prior": "popularity by features", "seed": seed, "ndcg@10": ndcg(guessed, relevant)},
    ]
    training = pr.Training(epochs=epochs, batch_size=256, learning_rate=0.015, validation_fraction=0.0)
    for name, predictor in PREDICTORS.items():
        for prior, item_prior in PRIORS.items():
            start = time.process_time()
            spec = pr.BilateralModel(binarise=True, predictor=predictor, item_prior=item_prior)
            run = pr.fit(spec, log, seed=seed, training=training, context=pr.Context(progress=False))
            seconds = time.process_time() - start
            line = {
                "predictor": name,
                "prior": prior,
                "seed": seed,
                "ndcg@10": ndcg(scores(run, users, held), relevant),
            }
            lines.append(line | used(run) | {"cpu_s": seconds})
            print(lines[-1], flush=True)
    return pd.DataFrame(lines)


def hold_items_out(folder: Path, seed: int) -> tuple[pr.Interactions, pd.DataFrame, pd.Index]:
    """Train with features of all items, the records of the held-out items, and these items."""
    records = pd.read_parquet(folder / "interactions.parquet")[["user_id", "item_id", "value"]]
    items = np.sort(records["item_id"].unique())
    held = pd.Index(np.random.default_rng(seed).choice(items, len(items) // 10, replace=False))
    away = records["item_id"].isin(held)
    log = pr.read_interactions(records[~away].reset_index(drop=True), item_features=year_and_genres(folder))
    return log, records[away], held


def year_and_genres(folder: Path) -> pd.DataFrame:
    """The items' features, indexed by item_id."""
    table = pd.read_parquet(folder / "item_features.parquet").set_index("item_id")
    year = pd.to_datetime(table["release_date"], format="%d-%b-%Y").dt.year.rename("year")
    return pd.concat([year, table.drop(columns=["title", "release_date"]).astype(bool)], axis=1)


def popularity_by_features(log: pr.Interactions, held: pd.Index) -> np.ndarray:
    """log(1 + count) of the held-out items, by ridge regression over the others."""
    assert log.item_features is not None
    bins = pd.qcut(log.item_features["year"], 10, duplicates="drop").astype(str)
    table = log.item_features.assign(bin=bins)
    x, new = (np.c_[np.ones(len(ids)), encode_features(table, ids).values] for ids in (log.items, held))
    target = np.log1p(np.bincount(log.item, minlength=log.n_items))
    return new @ np.linalg.solve(x.T @ x + 1e-1 * np.eye(x.shape[1]), x.T @ target)


@torch.no_grad()
def scores(run: pr.Run, users: pd.Index, items: pd.Index) -> np.ndarray:
    """Linear predictors of users and of items that the run does not know, (users, items)."""
    posterior = extended(run, users, items)
    rows, columns = posterior.users.get_indexer(users), posterior.items.get_indexer(items)
    return posterior.linear_mean(torch.as_tensor(rows), torch.as_tensor(columns)).numpy()


def ndcg(score: np.ndarray, relevant: np.ndarray) -> float:
    """Mean binary NDCG@10 over users, ideal over min(10, relevant items)."""
    discount = 1 / np.log2(np.arange(10) + 2)
    ranked = np.argsort(-score, axis=1, kind="stable")[:, :10]
    gained = (np.take_along_axis(relevant > 0, ranked, 1) * discount).sum(1)
    best = discount.cumsum()[np.minimum((relevant > 0).sum(1), 10) - 1]
    return float((gained / best).mean())


def used(run: pr.Run) -> dict[str, float]:
    """Active units, KL and mutual information of the items' side."""
    item = collapse_summary(run).set_index("side").loc["item"]
    user = collapse_summary(run).set_index("side").loc["user"]
    return {
        "active_users": user["active_units"], "active_items": item["active_units"], "kl_items": item["kl"],
        "information_items": item["mutual_information"],
    }  # fmt: skip


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """NDCG@10 of each CAP less that of its rivals, paired by seed: mean, standard error, and their ratio."""
    wide = table.pivot(index="seed", columns=["predictor", "prior"], values="ndcg@10")
    bases = {"popularity": wide[("-", "popularity")], "by features": wide[("-", "popularity by features")]}
    gaps = {
        (predictor, prior, against): wide[(predictor, prior)] - base
        for predictor in PREDICTORS
        for prior in PRIORS
        if prior != "no CAP"
        for against, base in (bases | {"no CAP": wide[(predictor, "no CAP")]}).items()
    }
    found = pd.DataFrame(gaps).agg(["mean", "sem"]).T
    return found.assign(ratio=found["mean"] / found["sem"])


if __name__ == "__main__":
    main()
