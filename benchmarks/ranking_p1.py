"""Ranking on MovieLens-100K: random 75/25 of the rows, all ratings as clicks, three splits.

    python -m benchmarks.ranking_p1 LOG [--seeds 42 43 44] [--fits 0 1] [--output FILE]

LOG is the MovieLens-100K log (user_id, item_id, value in file order). The splits are scikit-learn's
train_test_split(train_size=.75, random_state=seed); every model is fitted once for each of the seeds in --fits. NDCG@10
is binary, ideal over min(10, test items); seen items are left out; items never seen in train are not recommended but
count in the ideal. Every row is one fit on one thread with the settings below, which were chosen on a validation part
of train (docs/results.md), those of cornac's recipe excepted; the last rows average fits. PD and PDA count popularity
by leaving one out: with rows split at random the past of a test row is in train and so is its future. Most of the time
goes into the 500 epochs of cornac's recipe.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
import torch

import pyrorec as pr
from pyrorec.inference.average import average
from pyrorec.inference.evaluate import baseline_scorer, prepare, row, run_scorer
from pyrorec.inference.pairwise import LeaveOneOut, Pd, Pda
from pyrorec.inference.run import Run

TRAINING = pr.Training(epochs=120, batch_size=256, learning_rate=0.015, validation_fraction=0.0)
MODELS = {
    "frailty": pr.BilateralModel(binarise=True),
    "plain BiVAE": pr.BilateralModel(binarise=True, predictor=pr.Plain()),
}
CORNACS_RECIPE = (
    pr.BilateralModel(factors=50, hidden=(100,), binarise=True, predictor=pr.Plain()),
    pr.Training(epochs=500, batch_size=128, learning_rate=0.001, anneal=False, kl_warmup=0, validation_fraction=0.0),
)
"""The plain model with the sizes of cornac's BiVAECF, trained as that is (`benchmarks.peers_cornac` runs cornac)."""
RECIPES = {name: (model, TRAINING) for name, model in MODELS.items()} | {"plain BiVAE, cornac's recipe": CORNACS_RECIPE}
PAIRWISE = {"exponents": (0.2,), "penalties": (0.03,), "popularity": LeaveOneOut()}
BASELINES = (pr.Popularity(), pr.Ease(), Pda(**PAIRWISE), Pd(**PAIRWISE))
SHOWN = ["ndcg@10", "map@10", "recall@10", "recall@50", "arp@10", "aplt@10"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--fits", type=int, nargs="+", default=[0, 1], help="seeds of the fits on each split")
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    log = pr.read_interactions(arguments.log)
    table = pd.concat([one_split(log, seed, arguments.fits) for seed in arguments.seeds])
    shown = table.groupby("model", sort=False)[[*SHOWN, "cpu_s"]].agg(["mean", "std"])
    print(shown.to_string(float_format=lambda x: f"{x:.4f}"))
    print(table.pivot_table(index="model", columns="seed", values="ndcg@10", sort=False).round(4).to_string())
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def one_split(log: pr.Interactions, seed: int, fits: list[int]) -> pd.DataFrame:
    """Every scorer on one split; baselines once. The last rows average the frailty's fits, without EASE and with it."""
    train, test = pr.split_random(log, 0.25, seed)
    parts, frailties = [], []
    for name, (model, training) in RECIPES.items():
        for number in fits:
            start = time.process_time()
            run = pr.fit(model, train, seed=number, training=training, context=pr.Context(progress=False))
            seconds = time.process_time() - start
            judged = pr.evaluate(run, test, baselines=() if parts else BASELINES)
            own = judged.index.isin(["observe", "deconfound", "temper 0.5"])
            judged["cpu_s"] = [seconds if mine else float("nan") for mine in own]
            judged.index = [
                f"{name}, {scorer}" if mine else scorer for scorer, mine in zip(judged.index, own, strict=True)
            ]
            parts.append(judged)
            if name == "frailty":
                frailties.append(run)
    parts.append(averages(frailties, test))
    return pd.concat(parts).rename_axis("model").reset_index().assign(seed=seed)


def averages(runs: list[Run], test: pr.Interactions) -> pd.DataFrame:
    """Averages of several fits, and of these with EASE, judged as the rest is."""
    prepared, _ = prepare(runs[0], test)
    scorers = [run_scorer(run, str(number), pr.Observe()) for number, run in enumerate(runs)]
    both = [*scorers, *[baseline_scorer(pr.Ease(), prepared.train)] * len(runs)]  # EASE weighs as much as all fits
    named = (average(f"average of {len(runs)} fits", scorers), average(f"average of {len(runs)} fits and EASE", both))
    return pd.DataFrame({scorer.name: row(scorer, prepared, (10, 50)) for scorer in named}).T


if __name__ == "__main__":
    main()
