"""Clicks with logit link."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families.base import Family, Outcome, inside
from pyrorec.models.integrals.softplus import expected_softplus
from pyrorec.models.mass import Mass, SoftplusMass


def log_choose(trials: Tensor, value: Tensor) -> Tensor:
    """log binomial(trials, value), zero for single trials."""
    return torch.lgamma(trials + 1) - torch.lgamma(value + 1) - torch.lgamma(trials - value + 1)


@dataclass(frozen=True)
class Bernoulli(Family):
    """c ~ Binomial(trials, sigma(eta)), a Bernoulli for one trial: A = trials softplus(eta) (maths 6.5)."""

    name: ClassVar[str] = "bernoulli"
    outcome: ClassVar[Outcome] = Outcome.CLICK
    mass: ClassVar[type[Mass]] = SoftplusMass
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """c eta - trials softplus(eta) + log binomial(trials, c)."""
        return value * eta - trials * F.softplus(eta) + log_choose(trials, value)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """c m - trials E softplus(eta) + log binomial(trials, c) (maths 5)."""
        return value * mean - trials * expected_softplus(mean, variance) + log_choose(trials, value)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Minus the summed softplus(eta)."""
        return -mass

    def mean(self, eta: Tensor) -> Tensor:
        """The click probability sigma(eta)."""
        return torch.sigmoid(eta)

    def link(self, mean: float) -> float:
        """The logit."""
        p = inside(mean)
        return math.log(p) - math.log1p(-p)

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return torch.binomial(trials.expand_as(eta).contiguous(), torch.sigmoid(eta))
