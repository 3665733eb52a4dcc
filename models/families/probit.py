"""Clicks with probit link."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.special import log_ndtr, ndtri

from pyrorec.models.families.base import Family, Outcome, inside
from pyrorec.models.families.bernoulli import log_choose
from pyrorec.models.mass import Mass, ProbitMass


@dataclass(frozen=True)
class Probit(Family):
    """c ~ Binomial(trials, Phi(eta)), Phi the standard normal cdf (maths 4.3)."""

    name: ClassVar[str] = "probit"
    outcome: ClassVar[Outcome] = Outcome.CLICK
    mass: ClassVar[type[Mass]] = ProbitMass
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """c log Phi(eta) + (trials - c) log Phi(-eta) + log binomial(trials, c)."""
        return value * log_ndtr(eta) + (trials - value) * log_ndtr(-eta) + log_choose(trials, value)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Minus the summed -log Phi(-eta)."""
        return -mass

    def mean(self, eta: Tensor) -> Tensor:
        """The click probability Phi(eta), with all digits of a rare one (torch's ndtr rounds it off one half)."""
        return 0.5 * torch.erfc(-math.sqrt(0.5) * eta)

    def link(self, mean: float) -> float:
        """The standard normal quantile."""
        return float(ndtri(torch.tensor(inside(mean), dtype=torch.float64)))

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return torch.binomial(trials.expand_as(eta).contiguous(), self.mean(eta))
