"""Positive amounts with a scatter in proportion to their mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.absent import ONLY_MISSING, Absent
from pyrorec.models.families.base import Outcome
from pyrorec.models.families.exponential_family import Fitted, log_gamma, solve_mean
from pyrorec.models.families.log_mean import LogMean
from pyrorec.models.families.positive import refuse_nonpositive
from pyrorec.models.families.sums import Sums
from pyrorec.models.mass import safe_exp

LEAST, MOST = 0.1, 100.0
"""Where the shape may start."""


@dataclass(frozen=True)
class GammaResponse(LogMean):
    """r ~ Gamma(a, rate a e^-eta), mean e^eta, variance mu^2 / a, shape a learned (maths 6.5).

    phi = (log r, r), natural = (a, -a / mu), A = log G(a) - a log(a / mu), h = 1 / r: at a known shape it is the
    one-parameter family of maths 6.5, A = -a log(-natural). A cell's value is the sum of `trials` amounts, which are
    taken to have been alike. Absent cells are missing, as no amount is zero; `HurdleGamma` has zeros.
    """

    name: ClassVar[str] = "gamma"
    learned: ClassVar[tuple[str, ...]] = ("shape",)
    outcome: ClassVar[Outcome] = Outcome.AMOUNT
    absent: ClassVar[frozenset[Absent]] = ONLY_MISSING
    support: ClassVar[constraints.Constraint] = constraints.positive
    canonical_link: ClassVar[str] = "-a / mu"
    value_component: ClassVar[int | None] = 1

    shape: float | Tensor = 1.0

    def _shape(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.shape, dtype=like.dtype, device=like.device)

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """trials times (log r, r)."""
        return torch.stack([-self.log_base(value, trials), value], -1)

    def natural(self, eta: Tensor) -> Tensor:
        """(a, -a / mu)."""
        a = self._shape(eta)
        return torch.stack(torch.broadcast_tensors(a, -a * safe_exp(-eta)), -1)

    def log_partition(self, natural: Tensor) -> Tensor:
        """log G(a) - a log(a / mu)."""
        shape, rate = natural[..., 0], -natural[..., 1]
        return log_gamma(shape) - shape * torch.log(rate)

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """-trials log r."""
        smallest = torch.finfo(value.dtype).tiny  # where an amount has been rounded to nothing
        return -torch.xlogy(trials, (value / trials.clamp_min(1.0)).clamp_min(smallest))

    def log_norm(self, value: Tensor, trials: Tensor) -> Tensor:
        """What is free of eta: trials [(a - 1) log r + a log a - log G(a)]."""
        a = self._shape(value)
        return (1 - a) * self.log_base(value, trials) + trials * (a * a.log() - torch.lgamma(a))

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """-a (trials eta + value e^-eta) + what is free of eta."""
        return -self.shape * (trials * eta + value * safe_exp(-eta)) + self.log_norm(value, trials)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """-a (trials m + value e^(-m + v/2)) + what is free of eta."""
        pull = trials * mean + value * safe_exp(0.5 * variance - mean)
        return -self.shape * pull + self.log_norm(value, trials)

    def variance(self, eta: Tensor) -> Tensor:
        """mu^2 / a."""
        return self.mean(eta) ** 2 / self.shape

    def maximum_likelihood(self, sums: Sums) -> Fitted:
        """Shape and mean from the means of log r and r, by Newton's method on the natural parameters."""
        log_r, r = sums.mean.tolist()
        start = shape_from_logs(math.log(r) - log_r)
        natural = solve_mean(self.log_partition, sums.mean, torch.tensor([start, -start / r]))
        return Fitted(replace(self, shape=float(natural[0])), math.log(float(-natural[0] / natural[1])))

    def starting(self, value: Tensor, trials: Tensor) -> Self:
        """The shape with the log-spread of the values, kept moderate."""
        positive = (value / trials.clamp_min(1.0))[value > 0].double()
        if len(positive) < 2:
            return self
        apart = float(positive.mean().log() - positive.log().mean())
        return replace(self, shape=min(max(shape_from_logs(apart), LEAST), MOST))

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        shape = (trials * self._shape(eta)).expand_as(eta)
        draw = torch.distributions.Gamma(shape.clamp_min(1e-30), self._shape(eta)).sample()
        return draw.clamp_min(torch.finfo(eta.dtype).tiny) * safe_exp(eta) * (shape > 0)

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Amounts are above zero."""
        return refuse_nonpositive(self.name, value)


def shape_from_logs(apart: float) -> float:
    """The Gamma shape at log E r - E log r = `apart`, within 1.5 %: where its equation is solved from."""
    apart = max(apart, 1e-8)
    return (3 - apart + math.sqrt((apart - 3) ** 2 + 24 * apart)) / (12 * apart)
