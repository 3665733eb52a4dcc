"""Ranking where popularity was taken out of the test: MovieLens-100K, popularity-intervened, all tuned on validation.

    python -m benchmarks.popularity_p4 LOG [--seeds 0 1 2] [--output FILE]

Of a random half of the rows 67,000 are drawn with replacement, with weight 1 / the item's rows in that half, and
duplicates dropped, so that every item is as likely as any other; a half of them is the test, a quarter validation, the
rest joins the other half of the rows as train. NDCG@10 is binary, ideal over min(10, test items); items of train, and
of validation when the test is ranked, are left out. Every scorer is tuned on validation, seed by seed, over the same
kind of grid: its own setting (input dropout of the fits, ridge of EASE, ridge and exponent of PD), together with the
weight of popularity under Temper or the power of item counts by which a score is divided afterwards.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pyrorec as pr
from pyrorec.data import Entry, Interactions
from pyrorec.evaluation import positives
from pyrorec.inference.evaluate import Scorer, baseline_scorer, prepare, row, run_scorer
from pyrorec.inference.pairwise import Pd
from pyrorec.inference.run import Run

DRAWN = 67_000
TRAINING = pr.Training(epochs=120, batch_size=256, learning_rate=0.015, validation_fraction=0.0)
DROPOUTS = (0.0, 0.3, 0.5)
EASE_PENALTIES = (100.0, 200.0, 400.0, 800.0)
PD_SETTINGS = tuple((penalty, exponent) for penalty in (0.01, 0.03) for exponent in (0.1, 0.2, 0.3))
MODELS = {
    "frailty": pr.BilateralModel(binarise=True),
    "plain BiVAE": pr.BilateralModel(binarise=True, predictor=pr.Plain()),
}
WEIGHTS = tuple(np.round(np.arange(0, 1.01, 0.1), 1))
POWERS = tuple(np.round(np.arange(0, 1.21, 0.1), 1))
Settings = tuple[float, ...]
Penalty = Callable[[Scorer, np.ndarray, float], Scorer]
SHOWN = ["ndcg@10", "recall@10", "arp@10", "aplt@10"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, help="CSV of every row")
    request = parser.parse_args()
    torch.set_num_threads(1)
    log = pr.read_interactions(request.log)
    parts = []
    for seed in request.seeds:
        parts.append(one_seed(log, seed))
        print(parts[-1].to_string(index=False), flush=True)
    table = pd.concat(parts, ignore_index=True)
    shown = table.groupby("model", sort=False)[SHOWN].agg(["mean", "std"])
    print(shown.to_string(float_format=lambda x: f"{x:.4f}"))
    print(table.pivot(index="model", columns="seed", values="tuned").to_string())
    if request.output:
        table.to_csv(request.output, index=False)


def intervened(log: Interactions, seed: int) -> tuple[Interactions, Interactions, Interactions]:
    """(train, validation, test) by the rule above."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(log))
    half, rest = order[: len(log) // 2], order[len(log) // 2 :]
    weight = 1 / np.bincount(log.item[half], minlength=log.n_items)[log.item[half]]
    drawn = rng.permutation(np.unique(rng.choice(half, DRAWN, replace=True, p=weight / weight.sum())))
    quarter = len(drawn) // 4
    more, validation, test = drawn[:quarter], drawn[quarter : 2 * quarter], drawn[2 * quarter :]
    return log.select(np.sort(np.concatenate([rest, more]))), log.select(validation), log.select(test)


def one_seed(log: Interactions, seed: int) -> pd.DataFrame:
    """Every scorer as tuned on validation, judged on the test."""
    train, validation, test = intervened(log, seed)
    runs = {
        (name, dropout): fitted(model, train, dropout, seed) for name, model in MODELS.items() for dropout in DROPOUTS
    }
    counts = np.maximum(np.bincount(train.item, minlength=train.n_items), 1).astype(float)
    some = next(iter(runs.values()))
    rows = {}
    for name, candidates in kinds(runs, some, validation, counts).items():
        tuned = max(candidates, key=lambda settings: ndcg(candidates[settings], some, validation))
        rows[name] = judged(candidates[tuned], some, validation, test) | {"tuned": tuned}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model").reset_index().assign(seed=seed)


def kinds(
    runs: dict[tuple[str, float], Run], some: Run, validation: Interactions, counts: np.ndarray
) -> dict[str, dict[Settings, Scorer]]:
    """Every kind of scorer with its candidates by their settings."""
    base = prepare(some, validation)[0].train
    frailty, plain = ({d: run for (name, d), run in runs.items() if name == kind} for kind in MODELS)
    ease = {(penalty,): baseline_scorer(pr.Ease(penalty=penalty), base) for penalty in EASE_PENALTIES}
    pairwise = {
        (penalty, exponent): baseline_scorer(Pd(exponents=(exponent,), penalties=(penalty,)), base)
        for penalty, exponent in PD_SETTINGS
    }
    seen = {
        kind: {(d,): observed(run) for d, run in fits.items()}
        for kind, fits in zip(MODELS, (frailty, plain), strict=True)
    }
    return {
        "frailty, Temper": {
            (d, w): run_scorer(run, "temper", pr.Temper(w)) for d, run in frailty.items() for w in WEIGHTS
        },
        "frailty, Observe, log score - power log count": with_powers(seen["frailty"], penalised, counts),
        "plain BiVAE, log score - power log count": with_powers(seen["plain BiVAE"], penalised, counts),
        "EASE / count^power": with_powers(ease, divided, counts),
        "PD / count^power": with_powers(pairwise, divided, counts),
        "frailty, Observe": seen["frailty"],
        "frailty, Deconfound": {(d,): run_scorer(run, "deconfound", pr.Deconfound()) for d, run in frailty.items()},
        "plain BiVAE": seen["plain BiVAE"],
        "EASE": ease,
        "PD": pairwise,
        "popularity": {(): baseline_scorer(pr.Popularity(), base)},
    }


def fitted(model: pr.BilateralModel, train: Interactions, dropout: float, seed: int) -> Run:
    """One fit without a validation part of its own."""
    training = replace(TRAINING, dropout=dropout)
    return pr.fit(model, train, seed=seed, training=training, context=pr.Context(progress=False))


def with_powers(scorers: dict[Settings, Scorer], penalty: Penalty, counts: np.ndarray) -> dict[Settings, Scorer]:
    """Each scorer with each power of the item counts taken off."""
    return {(*settings, c): penalty(scorer, counts, c) for settings, scorer in scorers.items() for c in POWERS}


def observed(run: Run) -> Scorer:
    """Plug-in scores under Observe."""
    return run_scorer(run, "observe", pr.Observe())


def ndcg(scorer: Scorer, run: Run, part: Interactions) -> float:
    """NDCG@10 on a part."""
    return float(row(scorer, prepare(run, part)[0], (10,))["ndcg@10"])


def judged(scorer: Scorer, run: Run, validation: Interactions, test: Interactions) -> dict[str, float]:
    """What is shown of a scorer on the test, a user's validation items left out as those of train are."""
    past = positives(run.log.matrix(Entry.PATTERN) + validation.matrix(Entry.PATTERN))
    found = row(scorer, replace(prepare(run, test)[0], seen=past), (10,))
    return {name: float(found[name]) for name in SHOWN}


def penalised(scorer: Scorer, counts: np.ndarray, power: float) -> Scorer:
    """log score - power log count, for scores that are rates or probabilities."""
    return replace(scorer, scores=lambda users: np.log(scorer.scores(users)) - power * np.log(counts))


def divided(scorer: Scorer, counts: np.ndarray, power: float) -> Scorer:
    """score / count^power, for scores of either sign."""
    return replace(scorer, scores=lambda users: scorer.scores(users) / counts**power)


if __name__ == "__main__":
    main()
