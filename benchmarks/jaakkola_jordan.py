"""Clicks under a logit trained by drawing and by the Jaakkola-Jordan bound, on MovieLens-100K.

    python -m benchmarks.jaakkola_jordan LOG [--fits 0 1] [--epochs 40] [--output FILE]

LOG is the MovieLens-100K log; all ratings as clicks, absent cells zeros, split 42 of `benchmarks.ranking_p1`. Bernoulli
family, predictor plain, batches of 256 and 128 rows, 20 and 12 factors; the two objectives take turns, so that they
meet the machine in the same state. `bound` is the objective per train record in the last epoch: by draws for
Analytic, exact for JaakkolaJordan. `per_cell` is the log predictive density of held-out clicks and of absent pairs
weighted to stand for all (`compare`), `difference` that of the bound less that of drawing, with a standard error over
users.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import pandas as pd
import torch

import pyrorec as pr
from pyrorec.inference.run import Run

OBJECTIVES = {"analytic": pr.Analytic(), "jaakkola-jordan": pr.JaakkolaJordan()}
SETTINGS = ((256, 20), (256, 12), (128, 20))
"""Rows a step, and factors."""
RATE = 0.015


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--fits", type=int, nargs="+", default=[0, 1], help="seeds of the fits")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train, test = pr.split_random(pr.read_interactions(arguments.log), 0.25, 42)
    table = pd.concat(
        both(train, test, rows, factors, seed, arguments.epochs)
        for (rows, factors), seed in itertools.product(SETTINGS, arguments.fits)
    )
    print(table.to_string(float_format=lambda x: f"{x:.4f}", index=False))
    if arguments.output:
        table.to_csv(arguments.output, index=False)


def both(
    train: pr.Interactions, test: pr.Interactions, rows: int, factors: int, seed: int, epochs: int
) -> pd.DataFrame:
    """Two fits that differ by the objective alone: a line each."""
    spec = pr.BilateralModel(factors=factors, family=pr.Bernoulli(), predictor=pr.Plain(), binarise=True)
    runs: dict[str, Run] = {}
    seconds: dict[str, float] = {}
    for name, objective in OBJECTIVES.items():
        training = pr.Training(
            objective=objective, epochs=epochs, batch_size=rows, learning_rate=RATE, validation_fraction=0.0
        )
        start = time.process_time()
        runs[name] = pr.fit(spec, train, seed=seed, training=training, context=pr.Context(progress=False))
        seconds[name] = time.process_time() - start
    found = pr.compare(runs, test, at=10).loc[list(OBJECTIVES)]
    return pd.DataFrame(
        {
            "rows": rows, "factors": factors, "seed": seed, "objective": list(OBJECTIVES),
            "ms_an_epoch": [1000 * seconds[name] / epochs for name in OBJECTIVES],
            "bound": [runs[name].metrics[-1]["elbo"] for name in OBJECTIVES],
            "ndcg@10": found["ndcg@10"].to_numpy(), "per_cell": found["per_cell"].to_numpy(),
            "difference": (found["per_cell"] - found["per_cell"].iloc[0]).to_numpy(),
            "difference_se": found["difference_se"].max() / found["cells"].iloc[0],
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
