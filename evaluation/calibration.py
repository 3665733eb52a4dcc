"""How far predicted click probabilities can be believed, on explicitly observed cells only.

A cell is (p, clicks, trials): `trials` impressions of one (user, item) pair of which `clicks` were clicked,
so it counts as `clicks` ones and `trials - clicks` zeros. Arrays are one-dimensional with one entry per cell.
A log without explicit negatives says nothing about these quantities; `calibration_metrics` then returns NaN
and the reason.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logit, xlog1py, xlogy

from pyrorec.evaluation.discrimination import auc, within_user_auc

Array = npt.NDArray[np.float64]


def log_loss(p: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike) -> float:
    """Mean negative log-likelihood per trial, in nats.

    A probability of exactly 0 or 1 with the opposite outcome gives infinity: nothing is clipped.
    """
    p, clicks, trials = _cells(p, clicks, trials)
    return float(-(xlogy(clicks, p) + xlog1py(trials - clicks, -p)).sum() / trials.sum())


def best_intercept_shift(p: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike) -> float:
    """Return the constant on the logit scale that, added to every prediction, minimises the log-loss.

    It is where the predicted clicks add up to the observed ones. Infinite where all outcomes are the same;
    cells with p of exactly 0 or 1 do not move and are left out; 0 where no other cell is left.
    """
    p, clicks, trials = _cells(p, clicks, trials)
    moves = (p > 0) & (p < 1) & (trials > 0)
    if not moves.any():
        return 0.0
    logits, clicks, trials = logit(p[moves]), clicks[moves], trials[moves]
    level = float(logit(clicks.sum() / trials.sum()))
    if np.isinf(level):
        return level
    # At level - max(logits) no prediction exceeds the observed rate, at level - min(logits) none is below it;
    # the margin of one keeps the signs apart when all predictions are equal.
    return float(
        brentq(
            lambda shift: (trials * expit(logits + shift)).sum() - clicks.sum(),
            level - logits.max() - 1,
            level - logits.min() + 1,
            xtol=1e-12,
        )
    )


def shifted_log_loss(p: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike) -> float:
    """LL*: the log-loss after the best intercept shift, which sets the base rate right and nothing else."""
    shift = best_intercept_shift(p, clicks, trials)
    p, clicks, trials = _cells(p, clicks, trials)
    logits = logit(p)
    logits[np.isfinite(logits)] += shift
    with np.errstate(invalid="ignore"):
        ones = np.where(clicks > 0, clicks * -log_expit(logits), 0)
        zeros = np.where(clicks < trials, (trials - clicks) * -log_expit(-logits), 0)
    return float((ones + zeros).sum() / trials.sum())


def brier(p: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike) -> float:
    """Mean squared distance per trial between the probability and the outcome 0 or 1 (Brier, 1950)."""
    p, clicks, trials = _cells(p, clicks, trials)
    return float((clicks * (1 - p) ** 2 + (trials - clicks) * p**2).sum() / trials.sum())


def reliability_table(p: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike, bins: int = 10) -> pd.DataFrame:
    """Return per bin of about equally many trials: trials, predicted (mean p) and observed (click rate).

    Cells are ordered by p and binned by the middle of their trials' ranks; equal probabilities always share a
    bin, so the table does not depend on the order of the rows. Heavy ties leave fewer bins than asked for.
    """
    p, clicks, trials = _cells(p, clicks, trials)
    values, group = np.unique(p, return_inverse=True)
    weight = np.bincount(group, weights=trials)
    middle = (weight.cumsum() - weight / 2) / weight.sum()
    bin_of = np.minimum((middle * bins).astype(np.int64), bins - 1)
    cells = pd.DataFrame(
        {"trials": weight, "predicted": weight * values, "observed": np.bincount(group, weights=clicks)}
    )
    table = cells.groupby(bin_of).sum().query("trials > 0").reset_index(drop=True)
    return table.assign(predicted=table.predicted / table.trials, observed=table.observed / table.trials)


def expected_calibration_error(p: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike, bins: int = 10) -> float:
    """Mean over trials of |mean p - click rate| in the trial's bin of `reliability_table` (equal counts)."""
    table = reliability_table(p, clicks, trials, bins)
    return float(np.average((table.predicted - table.observed).abs(), weights=table.trials))


CALIBRATION_METRICS = (
    "log_loss",
    "shifted_log_loss",
    "brier",
    "auc",
    "within_user_auc",
    "expected_calibration_error",
)


def calibration_metrics(
    users: npt.ArrayLike, p: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike
) -> tuple[dict[str, float], str | None]:
    """Return every metric of this room's probabilities by name, and why some are NaN (None when none is)."""
    wins, shown = np.asarray(clicks, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if shown.sum() == 0:
        return dict.fromkeys(CALIBRATION_METRICS, np.nan), "There are no explicitly observed cells to judge."
    if (wins == shown).all():
        return dict.fromkeys(CALIBRATION_METRICS, np.nan), (
            "The log has no explicit negatives (every observed cell is a click), "
            "so it cannot tell a right probability from a wrong one."
        )
    metrics = {
        "log_loss": log_loss(p, clicks, trials),
        "shifted_log_loss": shifted_log_loss(p, clicks, trials),
        "brier": brier(p, clicks, trials),
        "auc": auc(p, clicks, trials),
        "within_user_auc": within_user_auc(users, p, clicks, trials),
        "expected_calibration_error": expected_calibration_error(p, clicks, trials),
    }
    if np.isnan(metrics["auc"]):
        return metrics, "No observed cell is a click, so there is no pair of outcomes for the AUC."
    if np.isnan(metrics["within_user_auc"]):
        return (
            metrics,
            "No user has both a click and an explicit negative, so the within-user AUC has no pair.",
        )
    return metrics, None


def _cells(p: npt.ArrayLike, clicks: npt.ArrayLike, trials: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Return the three arrays in float64, or say which of them cannot be right."""
    p, clicks, trials = (np.asarray(array, dtype=np.float64) for array in (p, clicks, trials))
    if not (p.ndim == 1 and p.shape == clicks.shape == trials.shape):
        raise ValueError(
            f"p, clicks and trials have shapes {p.shape}, {clicks.shape}, {trials.shape}; give one entry per cell."
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("Some p is not a probability between 0 and 1; give probabilities, not scores or logits.")
    if not ((clicks >= 0) & (clicks <= trials)).all():
        raise ValueError("Some cell has fewer than 0 clicks or more clicks than trials; aggregate the log again.")
    if not trials.sum() > 0:
        raise ValueError("There are no trials; calibration needs at least one explicitly observed cell.")
    return p, clicks, trials
