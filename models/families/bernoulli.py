"""Clicks, and clicks with logit link."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families.base import Outcome, inside, refuse_fractions
from pyrorec.models.families.exponential_family import ExponentialFamily
from pyrorec.models.integrals.softplus import expected_softplus
from pyrorec.models.mass import Mass, SoftplusMass


def log_choose(trials: Tensor, value: Tensor) -> Tensor:
    """log binomial(trials, value), zero for single trials."""
    return torch.lgamma(trials + 1) - torch.lgamma(value + 1) - torch.lgamma(trials - value + 1)


class Clicks(ExponentialFamily):
    """Clicks out of impressions, Binomial(trials, p): phi = c, natural = logit p, A = softplus (maths 6.5).

    A subclass states its link. Absent cells of an implicit log are weak negatives, those of an explicit one missing.
    """

    outcome: ClassVar[Outcome] = Outcome.CLICK
    binarisable: ClassVar[bool] = True
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer
    canonical_link: ClassVar[str] = "logit"

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """The clicks."""
        return value[..., None]

    @abstractmethod
    def natural(self, eta: Tensor) -> Tensor:
        """logit p."""

    def log_partition(self, natural: Tensor) -> Tensor:
        """softplus."""
        return F.softplus(natural[..., 0])

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """log binomial(trials, c)."""
        return log_choose(trials, value)

    def variance(self, eta: Tensor) -> Tensor:
        """p (1 - p)."""
        logit = self.natural(eta)[..., 0]
        return torch.sigmoid(logit) * torch.sigmoid(-logit)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Minus the summed mass, -log(1 - p)."""
        return -mass

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Clicks are whole numbers up to their trials."""
        if bool((value > trials).any()):
            return (
                f"Family {self.name} takes clicks, but the log holds values up to {float(value.max()):g}: binarise it "
                "(--binarise) or use family poisson or gaussian."
            )
        return refuse_fractions(self.name, value)


@dataclass(frozen=True)
class Bernoulli(Clicks):
    """c ~ Binomial(trials, sigma(eta)), a Bernoulli for one trial: A = trials softplus(eta) (maths 6.5)."""

    name: ClassVar[str] = "bernoulli"
    mass: ClassVar[type[Mass]] = SoftplusMass
    practical_link: ClassVar[str] = "logit"

    def natural(self, eta: Tensor) -> Tensor:
        """eta itself."""
        return eta[..., None]

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """c eta - trials softplus(eta) + log binomial(trials, c)."""
        return value * eta - trials * F.softplus(eta) + log_choose(trials, value)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """c m - trials E softplus(eta) + log binomial(trials, c) (maths 5)."""
        return value * mean - trials * expected_softplus(mean, variance) + log_choose(trials, value)

    def mean(self, eta: Tensor) -> Tensor:
        """The click probability sigma(eta)."""
        return torch.sigmoid(eta)

    def link(self, mean: float) -> float:
        """The logit."""
        p = inside(mean)
        return math.log(p) - math.log1p(-p)

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return torch.binomial(trials.expand_as(eta).contiguous(), torch.sigmoid(eta))
