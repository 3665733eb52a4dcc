"""Clicks with probit link."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtri

from pyrorec.models.families.base import inside
from pyrorec.models.families.bernoulli import Clicks, log_choose
from pyrorec.models.mass import Mass, ProbitMass


@dataclass(frozen=True)
class Probit(Clicks):
    """c ~ Binomial(trials, Phi(eta)), Phi the standard normal cdf (maths 4.3)."""

    name: ClassVar[str] = "probit"
    mass: ClassVar[type[Mass]] = ProbitMass
    practical_link: ClassVar[str] = "probit"

    def natural(self, eta: Tensor) -> Tensor:
        """log Phi(eta) - log Phi(-eta)."""
        return (log_ndtr(eta) - log_ndtr(-eta))[..., None]

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """c log Phi(eta) + (trials - c) log Phi(-eta) + log binomial(trials, c)."""
        return value * log_ndtr(eta) + (trials - value) * log_ndtr(-eta) + log_choose(trials, value)

    def mean(self, eta: Tensor) -> Tensor:
        """The click probability Phi(eta), with all digits of a rare one (torch's ndtr rounds it off one half)."""
        return 0.5 * torch.erfc(-math.sqrt(0.5) * eta)

    def link(self, mean: float) -> float:
        """The standard normal quantile."""
        return float(ndtri(torch.tensor(inside(mean), dtype=torch.float64)))

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return torch.binomial(trials.expand_as(eta).contiguous(), self.mean(eta))
