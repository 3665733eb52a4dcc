"""Ranking on MovieLens-1M and Last.fm (binarised): random 75/25 of the rows, as `benchmarks.ranking_p1`.

    python -m benchmarks.ranking_more movielens-1m LOG [--seeds 42 43 44] [--output FILE]
    python -m benchmarks.ranking_more lastfm LOG

One fit of the frailty model on each split, by settings that were chosen on a tenth of the train part of split 42
(docs/results.md), beside EASE, popularity, and the average of the fit and EASE.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

import pyrorec as pr
from benchmarks.ranking_p1 import SHOWN, TRAINING, averages

SETTINGS = {
    "movielens-1m": (pr.BilateralModel(binarise=True, factors=40), replace(TRAINING, epochs=60, batch_size=128)),
    "lastfm": (pr.BilateralModel(binarise=True, factors=20), replace(TRAINING, epochs=80)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", choices=SETTINGS)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--output", type=Path, help="CSV of every row")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    log = pr.read_interactions(arguments.log)
    parts = []
    for seed in arguments.seeds:
        parts.append(one_split(log, seed, *SETTINGS[arguments.settings]))
        print(parts[-1][["seed", "model", "ndcg@10", "cpu_s"]].to_string(index=False), flush=True)
    table = pd.concat(parts, ignore_index=True)
    shown = table.groupby("model", sort=False)[[*SHOWN, "cpu_s"]].agg(["mean", "std"])
    print(shown.to_string(float_format=lambda x: f"{x:.4f}"))
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def one_split(log: pr.Interactions, seed: int, model: pr.BilateralModel, training: pr.Training) -> pd.DataFrame:
    """Every scorer on one split."""
    train, test = pr.split_random(log, 0.25, seed)
    start = time.process_time()
    run = pr.fit(model, train, seed=0, training=training, context=pr.Context(progress=False))
    seconds = time.process_time() - start
    judged = pr.evaluate(run, test, baselines=(pr.Popularity(), pr.Ease()))
    table = pd.concat([judged, averages([run], test).drop(index="average of 1 fits")])
    table = table.rename(
        index={"observe": "frailty, Observe", "average of 1 fits and EASE": "average of the fit and EASE"}
    )
    table["cpu_s"] = [seconds if name == "frailty, Observe" else float("nan") for name in table.index]
    return table.rename_axis("model").reset_index().assign(seed=seed)


if __name__ == "__main__":
    main()
