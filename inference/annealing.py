"""How the weight of the KL moves over the epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Annealing(ABC):
    """What share of the full KL weight counts in an epoch."""

    @abstractmethod
    def share(self, epoch: int, warmup: int) -> float:
        """A share in (0, 1] for an epoch counted from zero; `warmup` is the length of the warm-up in epochs."""


@dataclass(frozen=True)
class WarmUp(Annealing):
    """From 1 / (warmup + 1) up in equal steps, and then the whole."""

    def share(self, epoch: int, warmup: int) -> float:
        return min(1.0, (epoch + 1) / (warmup + 1))


@dataclass(frozen=True)
class Cyclical(Annealing):
    """The warm-up begins anew every `period` epochs (Fu et al. 2019), so that factors lost to the prior may come back.

    A warm-up that leaves no epoch of the period at full weight leaves validation nothing to choose from.
    """

    period: int = 25

    def __post_init__(self) -> None:
        if self.period < 2:
            raise ValueError(f"period must be at least 2, not {self.period}")

    def share(self, epoch: int, warmup: int) -> float:
        return min(1.0, (epoch % self.period + 1) / (warmup + 1))
