"""Coat: exposure and outcome in one model, beside the additive model that ignores who rated what.

    python -m benchmarks.coat_joint [--data FILE] [--seeds 0 1 2] [--output FILE]

Protocol and measures are those of `benchmarks.coat`; the log's propensities are used for validation alone. The joint
model is fitted to clicks (ratings of 4 or more) and to the ratings themselves (cumulative logits, a click being a
rating that reaches 4). The number of taste's factors is chosen for each seed on a fifth of train, which is masked from
exposure and outcome alike, by the log-likelihood of its rows weighted by inverse propensity. Other numbers are shown
beside.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

import pyrorec as pr
from benchmarks.coat import CLICK, DATA, clicks, judged, parts, summary
from benchmarks.coat_popularity import LINEAR, predictions
from pyrorec.data import Interactions
from pyrorec.inference.run import Run
from pyrorec.inference.settings import default_training

FACTORS = (2, 4, 8)
OUTCOMES = ("clicks", "ratings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    request = parser.parse_args()
    torch.set_num_threads(1)
    train, test = parts(request.data)
    table = pd.concat([one_seed(train, test, seed) for seed in request.seeds], ignore_index=True)
    print(summary(table.drop(columns="choice")).to_string())
    print(table.loc[table.model.str.startswith("joint, chosen"), ["model", "seed", "choice"]].to_string(index=False))
    if request.output:
        table.to_csv(request.output, index=False)


def one_seed(train: Interactions, test: Interactions, seed: int) -> pd.DataFrame:
    """Every row of the table once."""
    rows = {"additive": judged(predictions(pr.fit(LINEAR, clicks(train), context=quiet(seed))), test)}
    choices = {}
    for outcome in OUTCOMES:
        log = clicks(train) if outcome == "clicks" else train
        name = {factors: f"joint, {outcome}, {factors} factors" for factors in FACTORS}
        for factors in FACTORS:
            rows[name[factors]] = judged(predictions(as_clicks(fitted(log, factors, seed))), test)
        chosen = max(FACTORS, key=lambda factors: validated(log, factors, seed))
        rows[f"joint, chosen, {outcome}"], choices[f"joint, chosen, {outcome}"] = rows[name[chosen]], chosen
    table = pd.DataFrame(rows).T.rename_axis("model").reset_index()
    return table.assign(seed=seed, choice=table.model.map(choices))


def spec(log: Interactions, factors: int) -> pr.JointModel:
    """The joint model that a log's values call for, with so many factors of taste."""
    return replace(pr.choose_joint(log).model, taste=pr.Dot(factors))  # type: ignore[arg-type, return-value]


def fitted(log: Interactions, factors: int, seed: int) -> Run:
    """The joint model on all of a log."""
    return pr.fit(spec(log, factors), log, context=quiet(seed))


def validated(log: Interactions, factors: int, seed: int) -> float:
    """Weighted log-likelihood of a fifth of a log, masked while the rest is fitted."""
    model = spec(log, factors)
    training = default_training(model, len(log))
    training = replace(training, validation_fraction=0.2, validate_every=training.epochs, finish_epochs=0)
    return float(pr.fit(model, log, training=training, context=quiet(seed)).metrics[-1]["validation"])


def as_clicks(run: Run) -> Run:
    """A run of ratings asked for clicks."""
    return run if isinstance(run.posterior.response, pr.Bernoulli) else pr.ratings_from(run, int(CLICK))


def quiet(seed: int) -> pr.Context:
    """Without progress bars."""
    return pr.Context(seed=seed, progress=False)


if __name__ == "__main__":
    main()
