"""Poisson counts with log link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families.base import Outcome, refuse_fractions
from pyrorec.models.families.log_mean import LogMean
from pyrorec.models.mass import ExpMass, Mass, safe_exp


@dataclass(frozen=True)
class Poisson(LogMean):
    """y ~ Poisson(trials e^eta): phi = y, A = e^eta, h = trials^y / y!, mean = variance = rate (maths 6.5).

    An absent cell is a true zero of one unit of exposure; cells that were never exposed are to be missing.
    """

    name: ClassVar[str] = "poisson"
    outcome: ClassVar[Outcome] = Outcome.COUNT
    log_rate: ClassVar[bool] = True
    binarisable: ClassVar[bool] = True
    mass: ClassVar[type[Mass]] = ExpMass
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer
    canonical_link: ClassVar[str] = "log"

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """The count."""
        return value[..., None]

    def natural(self, eta: Tensor) -> Tensor:
        """eta itself."""
        return eta[..., None]

    def log_partition(self, natural: Tensor) -> Tensor:
        """The rate."""
        return safe_exp(natural[..., 0])

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """y (eta + log trials) - trials e^eta - log y!."""
        return value * eta - trials * safe_exp(eta) + self.log_base(value, trials)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """y (m + log trials) - trials e^(m + v/2) - log y! (maths 5)."""
        return value * mean - trials * safe_exp(mean + 0.5 * variance) + self.log_base(value, trials)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Minus the summed rates."""
        return -mass

    def variance(self, eta: Tensor) -> Tensor:
        """The rate e^eta."""
        return self.mean(eta)

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return torch.poisson(trials * safe_exp(eta))

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """log h = y log trials - log y!."""
        return torch.xlogy(value, trials) - torch.lgamma(value + 1)

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Counts are whole numbers."""
        return refuse_fractions(self.name, value)
