"""Counts of each item with the exposure behind them: all that the rules see of a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pyrorec.data import InputError, Interactions, Kind
from pyrorec.inference.empirical_bayes.source import Source, Uses


class Groups(NamedTuple):
    """Items of equal count and exposure taken together: n, exposure, weight (groups,), and group (items,)."""

    n: np.ndarray
    exposure: np.ndarray
    weight: np.ndarray
    group: np.ndarray


@dataclass(frozen=True, eq=False)
class Counts:
    """n_i events of item i under exposure E_i (maths 3): n_i ~ Poisson(E_i z_i), or binomial for impressions.

    n: whole numbers >= 0, float64 (items,). exposure: > 0, float64 (items,), in any unit; 0 for an item that was
    never shown, which has no events and gets the population's law. source: the cells counted, None if unknown.
    Raises InputError for anything else.
    """

    n: np.ndarray
    exposure: np.ndarray
    source: Source | None = None

    def __post_init__(self) -> None:
        n, exposure = (_floats(getattr(self, name), name) for name in ("n", "exposure"))
        if n.ndim != 1 or n.shape != exposure.shape:
            raise InputError(f"Give one count and one exposure an item, not shapes {n.shape} and {exposure.shape}.")
        _refuse(~(np.isfinite(n) & (n >= 0) & (n == np.floor(n))), n, "count", "counts are whole numbers from 0")
        _refuse(~(np.isfinite(exposure) & (exposure >= 0)), exposure, "exposure", "exposures are finite and above 0")
        _refuse((exposure == 0) & (n > 0), n, "count", "an item with exposure 0 was never shown and has no events")
        object.__setattr__(self, "n", n)
        object.__setattr__(self, "exposure", exposure)

    def __len__(self) -> int:
        return len(self.n)

    def take(self, items: np.ndarray) -> Counts:
        """The counts of some items (mask or indices)."""
        return Counts(self.n[items], self.exposure[items], self.source)

    def shown(self) -> Counts:
        """The counts of the items with any exposure; InputError where these say nothing of a population."""
        shown = self.take(self.exposure > 0)
        if len(shown) < 2 or not shown.n.any():
            raise InputError("A population prior needs at least two items with exposure and one event among them.")
        return shown

    def groups(self) -> Groups:
        """Equal pairs (n, E) once, with how often each stands."""
        _, n = np.unique(self.n, return_inverse=True)
        levels, exposure = np.unique(self.exposure, return_inverse=True)
        _, first, group, weight = np.unique(
            n * len(levels) + exposure, return_index=True, return_inverse=True, return_counts=True
        )
        return Groups(self.n[first], self.exposure[first], weight.astype(np.float64), group)

    @property
    def rate(self) -> float:
        """All events over all exposure."""
        return float(self.n.sum() / self.exposure.sum())


def counts_of(log: Interactions) -> Counts:
    """The counts that suit a log: clicks per impression, interactions, or for ratings who was rated at all."""
    if log.kind is Kind.CLICKS:
        return click_counts(log)
    return exposure_counts(log) if log.kind is Kind.RATINGS else interaction_counts(log)


def exposure_counts(log: Interactions) -> Counts:
    """How often each item came before someone, whatever came of it; uses no value of the log.

    E_i is the mean count, so that popularity has mean one (maths 3.1).
    """
    n = np.bincount(log.item, weights=log.trials, minlength=log.n_items)
    return Counts(n, _equal(n), Source.of(log, Uses.EXPOSURE))


def click_counts(log: Interactions) -> Counts:
    """Clicks of each item, with its impressions as exposure.

    Raises InputError for a log without impressions that failed to be clicked, where exposure is unknown.
    """
    if log.kind is not Kind.CLICKS:
        raise InputError(f"These are {log.kind.value}, with no impressions to divide by; use interaction_counts.")
    impressions = np.bincount(log.item, weights=log.trials, minlength=log.n_items)
    return Counts(log.item_totals, impressions, Source.of(log, Uses.OUTCOME))


def interaction_counts(log: Interactions) -> Counts:
    """Interactions of each item: the sum of a log of counts, the cells of a log of implicit clicks.

    E_i is the mean count, so that popularity has mean one (maths 3.1). Raises InputError for clicks with true
    negatives, whose zeros are impressions or sampled negatives, not interactions (maths 1.3, B12b), and for ratings.
    """
    if log.kind is Kind.CLICKS:
        raise InputError(
            "Cells with value 0 are impressions or sampled negatives, so counting cells would measure the sampler, "
            "not popularity; use click_counts, or exposure_counts if being shown is what you mean."
        )
    if log.kind is Kind.RATINGS:
        raise InputError("Ratings do not add up to a number of interactions; use exposure_counts.")
    n = log.item_totals if log.kind is Kind.COUNTS else log.item_counts
    return Counts(n, _equal(n), Source.of(log, Uses.OUTCOME))


def _equal(n: np.ndarray) -> np.ndarray:
    if not n.any():
        raise InputError("The log has no event to count; give the cells of another period.")
    return np.full(len(n), n.mean())


def _floats(column: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.array(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of numbers, one an item.") from None


def _refuse(bad: np.ndarray, column: np.ndarray, what: str, remedy: str) -> None:
    if bad.any():
        item = int(np.argmax(bad))
        raise InputError(f"Item {item} has {what} {column[item]:g}, but {remedy}.")
