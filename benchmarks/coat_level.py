"""Coat: what calibration the joint model of ratings can reach, given the level that its train part tells.

    python -m benchmarks.coat_level [--data FILE] [--seeds 0 1 2]

The share of clicks among all pairs by train's inverse propensities (self-normalised, users resampled), beside the share
in the random test; then the expected calibration error of the fit of `benchmarks.coat_joint` (ratings, 4 factors of ids
and features) as its intercept is shifted to given levels: with its own slope, with the slope that the test itself asks
for, and by chance alone, were every probability right. A diagnosis, which no fit may use: it reads the test.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit

from benchmarks.coat import DATA, clicks, parts
from benchmarks.coat_joint import as_clicks, fitted
from benchmarks.coat_popularity import predictions
from pyrorec.data import Interactions
from pyrorec.evaluation import expected_calibration_error

TASTE = "4 factors of ids and features"
LEVELS = (0.18, 0.185, 0.19, 0.195, 0.2, 0.205)
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    request = parser.parse_args()
    torch.set_num_threads(1)
    train, test = parts(request.data)
    level, error = weighted_level(clicks(train))
    outcome = clicks(test).value
    print(f"clicks among all pairs: {level:.4f} (se {error:.4f}) by train's propensities")
    print(f"clicks in the random test: {outcome.mean():.4f}")
    table = pd.concat([by_level(train, test, seed) for seed in request.seeds])
    print(table.groupby("level").agg(["mean", "std"]).round(4).to_string())


def weighted_level(log: Interactions) -> tuple[float, float]:
    """Self-normalised mean of the clicks, weighted by inverse propensity, and its standard error over users."""
    weight = 1 / log.propensity
    hits, weights = (np.bincount(log.user, w, log.n_users) for w in (weight * log.value, weight))
    rng = np.random.default_rng(0)
    picks = rng.integers(0, log.n_users, (RESAMPLES, log.n_users))
    return hits.sum() / weights.sum(), float(np.std(hits[picks].sum(1) / weights[picks].sum(1)))


def by_level(train: Interactions, test: Interactions, seed: int) -> pd.DataFrame:
    """Calibration errors of one fit by level; the fit's own level comes first."""
    cells = clicks(test)
    one = np.ones(len(cells))
    score = logit(predictions(as_clicks(fitted(train, TASTE, seed)))(cells.user, cells.item))
    slope = best_slope(score, cells.value)
    rng = np.random.default_rng(seed)
    rows = []
    for level in LEVELS:
        own, tuned = (expit(shifted(factor * score, level)) for factor in (1.0, slope))
        draws = [expected_calibration_error(tuned, 1.0 * (rng.random(len(tuned)) < tuned), one) for _ in range(100)]
        errors = [expected_calibration_error(p, cells.value, one) for p in (own, tuned)]
        rows.append((level, expit(score).mean(), *errors, np.mean(draws)))
    return pd.DataFrame(rows, columns=["level", "level as fitted", "own slope", "test's slope", "chance"])


def best_slope(score: np.ndarray, outcome: np.ndarray) -> float:
    """The slope on the logit scale that has the least log-loss, its intercept free."""

    def loss(line: np.ndarray) -> float:
        eta = line[0] + line[1] * score
        return float(np.mean(np.logaddexp(0, eta) - outcome * eta))

    return float(minimize(loss, np.array([0.0, 1.0])).x[1])


def shifted(score: np.ndarray, level: float) -> np.ndarray:
    """The score moved so that its mean probability is `level`."""
    return score + brentq(lambda shift: expit(shift + score).mean() - level, -10, 10)


if __name__ == "__main__":
    main()
