"""Which rule a log calls for, by what its counts predict of items they have not met."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes.base import Rule
from pyrorec.inference.empirical_bayes.counts import Counts
from pyrorec.inference.empirical_bayes.gamma_poisson_ml import GammaPoissonML
from pyrorec.inference.empirical_bayes.gamma_poisson_truncated import GammaPoissonTruncated
from pyrorec.inference.empirical_bayes.normal_log_counts import ENOUGH, NormalLogCounts
from pyrorec.inference.empirical_bayes.poisson_lognormal import PoissonLogNormal

#: The two population laws that a held-out likelihood decides between (maths 3.8).
CANDIDATES: tuple[Rule, ...] = (GammaPoissonML(), PoissonLogNormal())
#: "Almost all" items have enough events for a normal law on their log counts.
ALMOST_ALL = 0.95
#: Items below which no comparison is tried: five folds of two.
ENOUGH_ITEMS = 10
#: Standard errors by which another rule must predict better than the Gamma, whose posterior is exact.
MARGIN = 2.0


@dataclass(frozen=True)
class Choice:
    """The rule, one sentence on why, and the comparison behind it (None where nothing was compared)."""

    rule: Rule
    reason: str
    table: pd.DataFrame | None = None


def choose_rule(counts: Counts) -> Choice:
    """The rule for these counts (maths 3.8).

    No item has count 0 although some have few events: zero-truncated. Otherwise the law with the better held-out
    likelihood, the Gamma unless the lognormal is better by two standard errors. A lognormal is fitted by
    NormalLogCounts where 95 % of the items have 5 events or more, by PoissonLogNormal elsewhere.
    """
    shown = counts.shown()
    enough = float((shown.n >= ENOUGH).mean())
    if shown.n.all() and enough < ALMOST_ALL:
        return Choice(GammaPoissonTruncated(), "no item has count 0, so items without events are absent from the log")
    if len(shown) < ENOUGH_ITEMS:
        return Choice(GammaPoissonML(), f"{len(shown)} items are too few to compare laws by held-out ones")
    table = compare_rules(shown)
    gain, error = (float(table[column].iloc[1]) for column in ("difference", "difference_se"))
    found = f"held-out log-likelihood an item of the lognormal less the Gamma's: {gain:+.4f} (se {error:.4f})"
    if not gain > MARGIN * error:
        return Choice(GammaPoissonML(), found, table)
    if enough >= ALMOST_ALL:
        return Choice(NormalLogCounts(), f"{found}; {enough:.0%} of the items have 5 events or more", table)
    return Choice(PoissonLogNormal(), found, table)


def compare_rules(counts: Counts, folds: int = 5, rules: tuple[Rule, ...] = CANDIDATES, seed: int = 0) -> pd.DataFrame:
    """Held-out log-likelihood an item of each rule, learned from the other folds of items.

    One row a rule: log_likelihood and its standard error over items, difference from the first rule and the standard
    error of that, paired by item. Rules that condition on more than exposure (zero-truncated) do not compare. Raises
    InputError for fewer items than folds, or fewer than two folds.
    """
    shown = counts.shown()
    if not 2 <= folds <= len(shown) // 2:
        raise InputError(f"{len(shown)} items with exposure cannot be held out in {folds} folds of two or more.")
    fold = np.random.default_rng(seed).permutation(len(shown)) % folds
    held_out = np.column_stack([_held_out(rule, shown, fold) for rule in rules])
    difference = held_out - held_out[:, :1]
    return pd.DataFrame(
        {
            "log_likelihood": held_out.mean(axis=0),
            "se": _error(held_out),
            "difference": difference.mean(axis=0),
            "difference_se": _error(difference),
        },
        index=pd.Index([rule.name for rule in rules], name="rule"),
    )


def _held_out(rule: Rule, counts: Counts, fold: np.ndarray) -> np.ndarray:
    found = np.empty(len(counts))
    for one in np.unique(fold):
        learned = rule.learn(counts.take(fold != one).shown())
        found[fold == one] = learned.log_marginal(counts.take(fold == one))
    return found


def _error(columns: np.ndarray) -> np.ndarray:
    return columns.std(axis=0, ddof=1) / np.sqrt(len(columns))
