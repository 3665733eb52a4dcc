"""Coat: exposure and outcome in one model, beside the additive model that ignores who rated what.

    python -m benchmarks.coat_joint [--data FILE] [--seeds 0 1 2] [--output FILE]

Protocol and measures are those of `benchmarks.coat`; the log's propensities are used for validation alone. The joint
model is fitted to clicks (ratings of 4 or more) and to the ratings themselves (cumulative logits, a click being a
rating that reaches 4). What taste is told by (ids, or ids and features) and its number of factors are chosen for each
seed on a fifth of train, which is masked from exposure and outcome alike, by the log-likelihood of its rows weighted by
inverse propensity. The last rows set the level of the chosen fit where the propensities put it; rankings stay.
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

TASTES = {
    f"{factors} factors{told}": kind(factors)
    for kind, told in ((pr.Dot, ""), (pr.FeaturedDot, " of ids and features"))
    for factors in (2, 4, 8)
}
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
        log, runs = clicks(train) if outcome == "clicks" else train, {}
        for taste in TASTES:
            runs[taste] = as_clicks(fitted(log, taste, seed))
            rows[f"joint, {outcome}, {taste}"] = judged(predictions(runs[taste]), test)
        scores = {taste: validated(log, taste, seed) for taste in TASTES}
        chosen = max(scores, key=scores.__getitem__)
        levelled = pr.level_by_propensity(runs[chosen])
        found = {"": rows[f"joint, {outcome}, {chosen}"], ", level by propensity": judged(predictions(levelled), test)}
        for more, measures in found.items():
            rows[f"joint, chosen, {outcome}{more}"], choices[f"joint, chosen, {outcome}{more}"] = measures, chosen
    table = pd.DataFrame(rows).T.rename_axis("model").reset_index()
    return table.assign(seed=seed, choice=table.model.map(choices))


def spec(log: Interactions, taste: str) -> pr.JointModel:
    """The joint model that a log's values call for, with this taste."""
    return replace(pr.choose_joint(log).model, taste=TASTES[taste])  # type: ignore[arg-type, return-value]


def fitted(log: Interactions, taste: str, seed: int) -> Run:
    """The joint model on all of a log."""
    return pr.fit(spec(log, taste), log, context=quiet(seed))


def validated(log: Interactions, taste: str, seed: int) -> float:
    """Weighted log-likelihood of a fifth of a log, masked while the rest is fitted."""
    model = spec(log, taste)
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
