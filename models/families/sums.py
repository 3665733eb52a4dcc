"""What online learning keeps of a log: the number of trials and the summed sufficient statistics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sums:
    """`trials` and the sum of phi over them, one number per component (maths 1.1.4).

    Sums of two logs added are those of both logs together: exactly for counts, to rounding for reals.
    """

    trials: float
    statistic: tuple[float, ...]

    @classmethod
    def of(cls, trials: Tensor, statistic: Tensor) -> Sums:
        """From cells: trials (cells,) and their summed statistics (cells, k), added in float64."""
        return cls(float(trials.double().sum()), tuple(statistic.double().sum(0).tolist()))

    def __add__(self, other: Sums) -> Sums:
        if len(self.statistic) != len(other.statistic):
            raise ValueError("sums of different families cannot be added: keep those of each family apart")
        total = tuple(a + b for a, b in zip(self.statistic, other.statistic, strict=True))
        return Sums(self.trials + other.trials, total)

    @property
    def mean(self) -> Tensor:
        """Mean statistic of a trial, (k,), float64; raises ValueError where nothing was seen."""
        if not self.trials:
            raise ValueError("nothing can be estimated from no trial: add the sums of some cells first")
        return torch.tensor(self.statistic, dtype=torch.float64) / self.trials
