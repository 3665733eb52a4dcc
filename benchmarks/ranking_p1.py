"""Ranking on MovieLens-100K: random 75/25 of the rows, all ratings as clicks, three splits.

    python -m benchmarks.ranking_p1 LOG [--seeds 42 43 44] [--output FILE]

LOG is the MovieLens-100K log (user_id, item_id, value in file order). The splits are scikit-learn's
train_test_split(train_size=.75, random_state=seed). NDCG@10 is binary, ideal over min(10, test items); seen items
are left out; items never seen in train are not recommended but count in the ideal. Every row is one fit on one
thread with the settings below, which were chosen on a validation part of train (docs/results.md). PD and PDA count
popularity by leaving one out: with rows split at random the past of a test row is in train and so is its future.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
import torch

import pyrorec as pr
from pyrorec.inference.pairwise import LeaveOneOut, Pd, Pda

TRAINING = pr.Training(epochs=120, batch_size=256, learning_rate=0.015, validation_fraction=0.0)
MODELS = {
    "frailty": pr.BilateralModel(binarise=True),
    "plain BiVAE": pr.BilateralModel(binarise=True, predictor=pr.Plain()),
}
PAIRWISE = {"exponents": (0.2,), "penalties": (0.03,), "popularity": LeaveOneOut()}
BASELINES = (pr.Popularity(), pr.Ease(), Pda(**PAIRWISE), Pd(**PAIRWISE))
SHOWN = ["ndcg@10", "map@10", "recall@10", "recall@50", "arp@10", "aplt@10"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    log = pr.read_interactions(arguments.log)
    table = pd.concat([one_split(log, seed) for seed in arguments.seeds])
    shown = table.groupby("model", sort=False)[[*SHOWN, "cpu_s"]].agg(["mean", "std"])
    print(shown.to_string(float_format=lambda x: f"{x:.4f}"))
    print(table.pivot_table(index="model", columns="seed", values="ndcg@10", sort=False).round(4).to_string())
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def one_split(log: pr.Interactions, seed: int) -> pd.DataFrame:
    """Every scorer on one split; baselines once."""
    train, test = pr.split_random(log, 0.25, seed)
    parts = []
    for name, model in MODELS.items():
        start = time.process_time()
        run = pr.fit(model, train, seed=0, training=TRAINING, context=pr.Context(progress=False))
        seconds = time.process_time() - start
        baselines = () if parts else BASELINES
        judged = pr.evaluate(run, test, baselines=baselines)
        own = judged.index.isin(["observe", "deconfound", "temper 0.5"])
        judged["cpu_s"] = [seconds if mine else float("nan") for mine in own]
        judged.index = [f"{name}, {scorer}" if mine else scorer for scorer, mine in zip(judged.index, own, strict=True)]
        parts.append(judged)
    return pd.concat(parts).rename_axis("model").reset_index().assign(seed=seed)


if __name__ == "__main__":
    main()
