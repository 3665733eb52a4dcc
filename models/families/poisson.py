"""Poisson counts with log link."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families.base import SMALLEST_MEAN, Family, Outcome
from pyrorec.models.mass import ExpMass, Mass, safe_exp


@dataclass(frozen=True)
class Poisson(Family):
    """y ~ Poisson(trials e^eta): phi = y, A = e^eta, h = trials^y / y!, mean = variance = rate (maths 6.5)."""

    name: ClassVar[str] = "poisson"
    outcome: ClassVar[Outcome] = Outcome.COUNT
    log_rate: ClassVar[bool] = True
    mass: ClassVar[type[Mass]] = ExpMass
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """y (eta + log trials) - trials e^eta - log y!."""
        return value * eta - trials * safe_exp(eta) + self.log_base(value, trials)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """y (m + log trials) - trials e^(m + v/2) - log y! (maths 5)."""
        return value * mean - trials * safe_exp(mean + 0.5 * variance) + self.log_base(value, trials)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Minus the summed rates."""
        return -mass

    def mean(self, eta: Tensor) -> Tensor:
        """The rate e^eta."""
        return safe_exp(eta)

    def link(self, mean: float) -> float:
        """The logarithm."""
        return math.log(max(mean, SMALLEST_MEAN))

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return torch.poisson(trials * safe_exp(eta))

    @staticmethod
    def log_base(value: Tensor, trials: Tensor) -> Tensor:
        """log h = y log trials - log y!."""
        return torch.xlogy(value, trials) - torch.lgamma(value + 1)
