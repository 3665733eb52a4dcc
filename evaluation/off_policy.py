"""What a policy would have earned, estimated from the log of another: arrays in, an estimate out.

A logging policy saw x, took action a with probability pi0(a | x) and earned r. The value of a target policy pi is
V = E_x sum_a pi(a | x) E(r | x, a). With w = pi / pi0 of the logged action all three estimators are a ratio of sums
over records, and share their standard errors and refusals. They are unbiased (SNIPS: consistent) if the propensities
are those by which the log came about, if the logging policy can take every action that the target might, and if the
target has not been learnt from the rewards that judge it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyrorec.evaluation.intervals import NORMAL, Interval, Ratio
from pyrorec.evaluation.overlap import USUAL, Decisions, Limits, Overlap, overlap, require_overlap


@dataclass(frozen=True)
class Estimate:
    """A policy's value, its standard error and interval (`method` says which), and how much of the log speaks of it."""

    value: float
    se: float
    lower: float
    upper: float
    method: str
    overlap: Overlap

    def row(self) -> pd.Series:
        """All numbers side by side."""
        estimated = {name: getattr(self, name) for name in ("value", "se", "lower", "upper", "method")}
        return pd.Series(estimated | asdict(self.overlap))


def ips(decisions: Decisions, interval: Interval = NORMAL, limits: Limits = USUAL) -> Estimate:
    """Inverse propensity scoring: mean of w r (Horvitz and Thompson, 1952).

    Unbiased. Its variance grows with the weights and with the level of the rewards: adding c to every reward adds
    c times the mean weight. Raises NoOverlap where `limits` are passed.
    """
    w = decisions.weights
    return _estimate(decisions, w * np.asarray(decisions.reward), np.ones_like(w), interval, limits)


def snips(decisions: Decisions, interval: Interval = NORMAL, limits: Limits = USUAL) -> Estimate:
    """Self-normalised: sum of w r / sum of w (Hesterberg, 1995; Swaminathan and Joachims, 2015).

    A weighted mean of the rewards, so it lies among them, moves with a constant added to all, and needs propensities
    up to a factor only. Biased by terms of order 1 / effective sample size. Raises NoOverlap where `limits` are passed.
    """
    w = decisions.weights
    return _estimate(decisions, w * np.asarray(decisions.reward), w, interval, limits)


def doubly_robust(
    decisions: Decisions,
    predicted: npt.ArrayLike,
    expected: npt.ArrayLike,
    interval: Interval = NORMAL,
    limits: Limits = USUAL,
) -> Estimate:
    """Mean of expected + w (r - predicted) (Dudik, Langford and Li, 2011; Dudik, Erhan, Langford and Li, 2014).

    `predicted` (records,) is a model's reward q(x, a) of the logged action, `expected` (records,) its
    sum_a pi(a | x) q(x, a) under the target. Unbiased whatever the model, if the model was fitted to other records; the
    better it predicts, the smaller the variance. Also right where propensities are wrong and the model is right.
    Raises ValueError for predictions that are not finite, NoOverlap where `limits` are passed.
    """
    w, reward = decisions.weights, np.asarray(decisions.reward)
    predicted, expected = np.asarray(predicted, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if not (predicted.shape == expected.shape == reward.shape):
        raise ValueError(
            f"predicted and expected have shapes {predicted.shape}, {expected.shape}; give one per record."
        )
    if not (np.isfinite(predicted).all() and np.isfinite(expected).all()):
        raise ValueError("Some predicted reward is not finite; look at the model before judging a policy by it.")
    return _estimate(decisions, expected + w * (reward - predicted), np.ones_like(w), interval, limits)


def _estimate(
    decisions: Decisions,
    numerator: npt.NDArray[np.float64],
    denominator: npt.NDArray[np.float64],
    interval: Interval,
    limits: Limits,
) -> Estimate:
    found = overlap(decisions)
    require_overlap(found, limits)
    ratio = Ratio.of(numerator, denominator, decisions.cluster)
    of_mean = bool((denominator == 1).all())
    return Estimate(ratio.value, *interval.around(ratio), interval.method(of_mean), found)
