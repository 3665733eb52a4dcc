"""Logistic matrix factorisation of clicks with true negatives, penalties chosen by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.special import expit, log_expit

from pyrorec.baselines.base import Baseline, ClickScorer, Items, ItemScores, Probabilities, Unfit, Users
from pyrorec.baselines.logistic import Array, Coefficients, Penalties, fit_logistic
from pyrorec.baselines.train import Train
from pyrorec.data import Interactions

BIAS_GRID = tuple(2.0 ** (step / 2) for step in range(-2, 8))
FACTOR_GRID = (2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class LogisticScorer(ClickScorer):
    """The fitted `coefficients`, and the `penalties` that were chosen for them; scores are logits."""

    coefficients: Coefficients
    penalties: Penalties

    def scores(self, users: Users) -> ItemScores:
        return self.coefficients.surface(users).astype(np.float32)

    def probabilities(self, users: Users, items: Items) -> Probabilities:
        return expit(self.coefficients.logits(users, items))


@dataclass(frozen=True)
class LogisticMF(Baseline):
    """P(click | shown) = sigmoid(intercept + user bias + item bias + p_u . q_i), of the cells that were shown.

    Absent cells say nothing. The penalty of item biases, of user biases and of the `factors` is chosen one after
    the other from its grid, by the log-loss of cells left out in `folds` parts of train; a grid of one value fixes it.
    Where no interaction can be learnt, the largest factor penalty wins and the factors vanish. `seed` draws the
    folds and the starting factors. `fit` raises Unfit for a log without both clicks and true negatives.
    """

    name: ClassVar[str] = "logistic MF"

    factors: int = 8
    user_grid: tuple[float, ...] = BIAS_GRID
    item_grid: tuple[float, ...] = BIAS_GRID
    factor_grid: tuple[float, ...] = FACTOR_GRID
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.factors < 0 or self.folds < 2:
            raise ValueError(f"{self.name} takes at least 0 factors and 2 folds, not {self.factors} and {self.folds}.")
        grids = (self.user_grid, self.item_grid, self.factor_grid)
        if not all(grid and min(grid) > 0 for grid in grids):
            raise ValueError(f"The penalties of {self.name} must be positive, and each grid must hold one at least.")

    def fit(self, train: Train) -> LogisticScorer:
        clicks = judged_cells(train, self.name)
        weight = self.weights(clicks)
        penalties = self.chosen(clicks, weight)
        rng = np.random.default_rng(self.seed)
        return LogisticScorer(fit_logistic(clicks, weight, penalties, self.factors, rng), penalties)

    def weights(self, clicks: Interactions) -> Array:
        """Weight of the trials of each cell in the loss, (cells,), with mean one over trials."""
        return np.ones(len(clicks))

    def chosen(self, clicks: Interactions, weight: Array) -> Penalties:
        """The penalties of the least held-out loss, one coordinate of them at a time."""
        best = Penalties(*(grid[len(grid) // 2] for grid in (self.user_grid, self.item_grid, self.factor_grid)))
        best = self.best_of([replace(best, item=value) for value in self.item_grid], 0, clicks, weight)
        best = self.best_of([replace(best, user=value) for value in self.user_grid], 0, clicks, weight)
        if not self.factors:
            return best
        tried = [replace(best, factor=value) for value in self.factor_grid]
        return self.best_of(tried, self.factors, clicks, weight)

    def best_of(self, tried: list[Penalties], factors: int, clicks: Interactions, weight: Array) -> Penalties:
        """The penalties of the least held-out loss; of equals the last, which shrinks most."""
        if len(tried) == 1:
            return tried[0]
        losses = [self.held_out_loss(penalties, factors, clicks, weight) for penalties in tried]
        return min(zip(losses, range(0, -len(tried), -1), tried, strict=True), key=lambda entry: entry[:2])[2]

    def held_out_loss(self, penalties: Penalties, factors: int, clicks: Interactions, weight: Array) -> float:
        """Weighted log-loss of every cell by the fit to the other folds, per weighted trial."""
        rng = np.random.default_rng(self.seed)
        fold = rng.permutation(len(clicks)) % self.folds
        logits = np.empty(len(clicks))
        for number in range(self.folds):
            inside = fold != number
            fitted = fit_logistic(clicks.select(inside), weight[inside], penalties, factors, rng)
            logits[~inside] = fitted.logits(clicks.user[~inside], clicks.item[~inside])
        losses = clicks.value * log_expit(logits) + (clicks.trials - clicks.value) * log_expit(-logits)
        return float(-(weight @ losses) / (weight @ clicks.trials))


def judged_cells(train: Train, name: str) -> Interactions:
    """The cells of train as clicks out of trials; raises Unfit where they do not hold both outcomes."""
    clicks = train.clicks
    clicked, shown = clicks.value.sum(), clicks.trials.sum()
    if not 0 < clicked < shown:
        lacking = "no true negatives" if clicked else "no clicks"
        raise Unfit(f"{name} skipped: the log holds {lacking}, and it learns from both.")
    return clicks
