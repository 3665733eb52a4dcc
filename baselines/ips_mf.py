"""Logistic MF weighted by inverse propensities of having been shown (Schnabel et al., 2016, arXiv:1602.05352)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pyrorec.baselines.base import Unfit
from pyrorec.baselines.logistic import Array
from pyrorec.baselines.logistic_mf import LogisticMF
from pyrorec.data import Interactions


@dataclass(frozen=True)
class InverseWeightedMF(LogisticMF):
    """Each trial counts with the inverse of its propensity: the loss that random exposure would have had.

    Weights are clipped at `largest_weight` times their mean, which trades a little bias for much variance, and then
    self-normalised to mean one, so only ratios of propensities count and penalties keep their meaning. Penalties are
    chosen by the weighted held-out loss.
    """

    largest_weight: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.largest_weight >= 1:
            raise ValueError(
                f"largest_weight of {self.name} is {self.largest_weight}; it must be at least 1 (no weight)."
            )

    @abstractmethod
    def propensities(self, clicks: Interactions) -> Array:
        """Propensity of each cell up to a common factor, (cells,), positive."""

    def weights(self, clicks: Interactions) -> Array:
        return clipped_weights(self.propensities(clicks), clicks.trials, self.largest_weight)


@dataclass(frozen=True)
class IpsMF(InverseWeightedMF):
    """Logistic MF with the propensities that came with the log; `fit` raises Unfit where it has none."""

    name: ClassVar[str] = "IPS-MF"

    def propensities(self, clicks: Interactions) -> Array:
        if clicks.propensity is None:
            raise Unfit(
                f"{self.name} skipped: the log has no propensities; PopularityIpsMF takes them from item counts."
            )
        return clicks.propensity


@dataclass(frozen=True)
class PopularityIpsMF(InverseWeightedMF):
    """Logistic MF with propensities (trials of the item) ^ `power`: what is popular is shown more."""

    name: ClassVar[str] = "IPS-MF, popularity"

    power: float = 1.0

    def propensities(self, clicks: Interactions) -> Array:
        shown = np.bincount(clicks.item, weights=clicks.trials, minlength=clicks.n_items)
        return shown[clicks.item] ** self.power


def clipped_weights(propensity: Array, trials: Array, largest: float) -> Array:
    """Inverse propensities clipped at `largest` times their mean, then scaled to mean one; means are over trials."""
    inverse = 1.0 / propensity
    clipped = np.minimum(inverse, largest * np.average(inverse, weights=trials))
    return clipped / np.average(clipped, weights=trials)
