"""Train the frailty model, y ~ Poisson(w z e^a), and ask its posterior about popularity.

    python examples/train_popularity.py [--log LOG] [--epochs 60] [--out runs/popularity]

Without --log it runs on the embedded simulated log, whose true popularity is known and whose test part was shown at
random, so that what a user likes can be told from what everybody is shown. With --log the latest fifth is the test.
docs/popularity.md and notebooks/popularity.ipynb show the other model of popularity, on records of clicks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import pyrorec as pr

ASKED = {"observe": pr.Observe(), "temper 0.5": pr.Temper(0.5), "deconfound": pr.Deconfound()}
SHOWN = ["ndcg@10", "within_user_auc", "arp@10", "item_coverage@10"]


def main(arguments: Sequence[str] | None = None) -> tuple[pr.Run, pd.DataFrame]:
    """Trains, prints what was found, saves the run; returns it with the evaluation, one row per intervention."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="CSV, TSV or Parquet with timestamps; the embedded log otherwise")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("runs/popularity"), help="folder of the run")
    options = parser.parse_args(arguments)

    train, test = pr.split_by_time(pr.read_interactions(options.log)) if options.log else pr.embedded_log()
    model = pr.BilateralModel(factors=8, family=pr.Poisson(), predictor=pr.LogAdditive(), popularity=pr.Gamma())
    run = pr.fit(model, train, seed=0, training=pr.Training(epochs=options.epochs))

    popularity = run.posterior.effects("item")
    print(popularity.sort_values("mean", ascending=False).head().to_string(float_format="{:.2f}".format))
    if not options.log:
        print(recovered(popularity, pr.embedded_truth().popularity))
    table = pr.evaluate(run, test, at=(10,), interventions=ASKED, baselines=())
    print(table[SHOWN].to_string(float_format="{:.3f}".format))
    print(f"Best ranking of the test part: {table['ndcg@10'].idxmax()}. Saved in {run.save(options.out)}")
    return run, table


def recovered(popularity: pd.DataFrame, true: np.ndarray) -> str:
    """How the posterior of popularity compares with the truth, the common level aside."""
    error = np.log(popularity["mean"]) - np.log(true)
    correlation = np.corrcoef(np.log(popularity["mean"]), np.log(true))[0, 1]
    inside = popularity["lower"].lt(true) & popularity["upper"].gt(true)
    return (
        f"True log-popularity: correlation {correlation:.2f}, level {error.mean():+.2f}, residual sd "
        f"{error.std():.2f}; the 90 % intervals hold {inside.mean():.0%} of the true values."
    )


if __name__ == "__main__":
    main()
