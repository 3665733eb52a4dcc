"""Clicks with complementary log-log link: a click is a Poisson count above zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyrorec.models.families.base import TINY, inside
from pyrorec.models.families.bernoulli import Clicks, log_choose
from pyrorec.models.integrals.normal import normal_average
from pyrorec.models.mass import ExpMass, Mass, safe_exp
from pyrorec.models.special import log1mexp


def log_click(eta: Tensor, rate: Tensor) -> Tensor:
    """log(1 - exp(-rate)), rate = e^eta; below eta = -10 by eta - rate / 2, so that value and gradient never stall."""
    rare = eta < -10.0
    return torch.where(rare, eta - 0.5 * rate, log1mexp(torch.where(rare, torch.ones_like(rate), rate)))


@dataclass(frozen=True)
class Cloglog(Clicks):
    """c ~ Binomial(trials, 1 - exp(-e^eta)), with e^eta the rate of the count behind the click (maths 2.5)."""

    name: ClassVar[str] = "cloglog"
    log_rate: ClassVar[bool] = True
    mass: ClassVar[type[Mass]] = ExpMass
    practical_link: ClassVar[str] = "complementary log-log"

    def natural(self, eta: Tensor) -> Tensor:
        """log(e^r - 1), r = e^eta."""
        rate = safe_exp(eta)
        return (log_click(eta, rate) + rate)[..., None]

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """c log(1 - exp(-r)) - (trials - c) r + log binomial(trials, c), r = e^eta."""
        rate = safe_exp(eta)
        return value * log_click(eta, rate) - (trials - value) * rate + log_choose(trials, value)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """c E log(1 - exp(-r)) by the trapezoid rule, -(trials - c) e^(m + v/2) exactly (maths 5)."""
        sd = variance.clamp_min(TINY).sqrt()
        click = normal_average(lambda eta: log_click(eta, safe_exp(eta)), mean, sd)
        return value * click - (trials - value) * safe_exp(mean + 0.5 * variance) + log_choose(trials, value)

    def mean(self, eta: Tensor) -> Tensor:
        """1 - exp(-e^eta)."""
        return -torch.expm1(-safe_exp(eta))

    def link(self, mean: float) -> float:
        """log(-log(1 - p))."""
        return math.log(-math.log1p(-inside(mean)))

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return torch.binomial(trials.expand_as(eta).contiguous(), self.mean(eta))
