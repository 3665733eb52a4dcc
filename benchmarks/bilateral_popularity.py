"""Popularity in the bilateral model on MovieLens-100K: every way in which it may enter, on one split and one seed.

    python -m benchmarks.bilateral_popularity LOG [--epochs 40] [--split 42] [--seed 0] [--output FILE]

LOG is the MovieLens-100K log, split as in benchmarks/ranking_p1.py and fitted with its settings but for the number of
epochs. Every rating is a click, absent cells are zeros. NDCG@10 is binary, ideal over min(10, test items); `observe`
leaves popularity as it is, `deconfound` integrates it over the population. `elbo` is that of the users' rows, per
record, at the last epoch: it compares models of one family and not families, for a Poisson speaks of counts. `epoch_s`
is CPU time per epoch on one thread.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

import pyrorec as pr
from benchmarks.ranking_p1 import TRAINING

CLICKS = {"family": pr.Bernoulli(), "binarise": True}
MODELS = {
    "log-additive Poisson, Gamma": pr.BilateralModel(binarise=True),
    "log-additive Poisson, Exponential": pr.BilateralModel(
        binarise=True, popularity=pr.Exponential(), activity=pr.Exponential()
    ),
    "log-additive Poisson, LogNormal": pr.BilateralModel(
        binarise=True, popularity=pr.LogNormal(), activity=pr.LogNormal()
    ),
    "log-additive Poisson, Weibull": pr.BilateralModel(binarise=True, popularity=pr.Weibull(), activity=pr.Weibull()),
    "additive Bernoulli, Normal": pr.BilateralModel(predictor=pr.Additive(), **CLICKS),
    "odds Bernoulli, Gamma": pr.BilateralModel(predictor=pr.Odds(), **CLICKS),
    "product-saturation Bernoulli, Gamma": pr.BilateralModel(predictor=pr.ProductSaturation(), **CLICKS),
    "product-saturation Bernoulli, LogNormal": pr.BilateralModel(
        predictor=pr.ProductSaturation(), popularity=pr.LogNormal(), **CLICKS
    ),
    "product-ratio Bernoulli, LogNormal": pr.BilateralModel(
        predictor=pr.ProductRatio(), popularity=pr.LogNormal(), **CLICKS
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--split", type=int, default=42)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="CSV of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train, test = pr.split_random(pr.read_interactions(arguments.log), 0.25, arguments.split)
    training = replace(TRAINING, epochs=arguments.epochs)
    rows = {}
    for name, model in MODELS.items():
        rows[name] = one_fit(model, train, test, training, arguments.seed)
        print(name, rows[name], flush=True)
    table = pd.DataFrame(rows).T.rename_axis("model")
    print(table.to_string(float_format=lambda x: f"{x:.4f}"))
    if arguments.output:
        table.to_csv(arguments.output)


def one_fit(
    model: pr.BilateralModel, train: pr.Interactions, test: pr.Interactions, training: pr.Training, seed: int
) -> dict[str, float]:
    """One line of the table."""
    start = time.process_time()
    run = pr.fit(model, train, seed=seed, training=training, context=pr.Context(progress=False))
    seconds = time.process_time() - start
    judged = pr.evaluate(run, test, baselines=())
    return {
        "observe": float(judged.loc["observe", "ndcg@10"]),
        "deconfound": float(judged.loc["deconfound", "ndcg@10"]),
        "elbo": run.metrics[-1]["user/elbo"],
        "epoch_s": seconds / training.epochs,
    }


if __name__ == "__main__":
    main()
