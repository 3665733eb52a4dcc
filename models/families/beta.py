"""Shares of one cell: what part of an item a user took."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.absent import ONLY_MISSING, Absent
from pyrorec.models.families.base import Outcome, inside
from pyrorec.models.families.exponential_family import ExponentialFamily, Fitted, log_gamma, solve_mean
from pyrorec.models.families.sums import Sums

LEAST, MOST = 0.5, 200.0
"""Where the precision may start."""
SMALLEST = 1e-6
"""Expected shares are kept this far from 0 and 1, where the law has no density left."""


@dataclass(frozen=True)
class Beta(ExponentialFamily):
    """r ~ Beta(mu k, (1 - mu) k), mu = sigma(eta), variance mu (1 - mu) / (1 + k), precision k learned (maths 6.5).

    phi = (log r, log(1 - r)), natural = (mu k, (1 - mu) k), A = log B(natural), h = 1 / (r (1 - r)). A cell's value is
    the sum of `trials` shares, which are taken to have been alike. Absent cells are missing; shares of exactly 0 or 1
    are refused.
    """

    name: ClassVar[str] = "beta"
    learned: ClassVar[tuple[str, ...]] = ("precision",)
    outcome: ClassVar[Outcome] = Outcome.SHARE
    absent: ClassVar[frozenset[Absent]] = ONLY_MISSING
    support: ClassVar[constraints.Constraint] = constraints.unit_interval
    canonical_link: ClassVar[str] = "(mu k, (1 - mu) k)"
    practical_link: ClassVar[str] = "logit of the mean, log of the precision"
    value_component: ClassVar[int | None] = None

    precision: float | Tensor = 5.0

    def _both(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """mu k and (1 - mu) k."""
        mean = torch.sigmoid(eta).clamp(SMALLEST, 1 - SMALLEST)
        return mean * self.precision, (1 - mean) * self.precision

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """trials times (log r, log(1 - r))."""
        edge = torch.finfo(value.dtype).eps  # in single precision a share may have been rounded to 0 or 1
        share = (value / trials.clamp_min(1.0)).clamp(edge, 1 - edge)
        return torch.stack([torch.xlogy(trials, share), torch.special.xlog1py(trials, -share)], -1)

    def natural(self, eta: Tensor) -> Tensor:
        """(mu k, (1 - mu) k)."""
        return torch.stack(self._both(eta), -1)

    def log_partition(self, natural: Tensor) -> Tensor:
        """log B(a, b)."""
        return log_gamma(natural).sum(-1) - torch.lgamma(natural.sum(-1))

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """-trials log(r (1 - r))."""
        return -self.statistic(value, trials).sum(-1)

    def mean(self, eta: Tensor) -> Tensor:
        """sigma(eta)."""
        return torch.sigmoid(eta)

    def variance(self, eta: Tensor) -> Tensor:
        """mu (1 - mu) / (1 + k)."""
        return torch.sigmoid(eta) * torch.sigmoid(-eta) / (1 + self.precision)

    def link(self, mean: float) -> float:
        """The logit."""
        p = inside(mean)
        return math.log(p) - math.log1p(-p)

    def maximum_likelihood(self, sums: Sums) -> Fitted:
        """Both parameters from the means of log r and log(1 - r), by Newton's method."""
        natural = solve_mean(self.log_partition, sums.mean, torch.tensor([1.0, 1.0]))
        a, b = natural.tolist()
        return Fitted(replace(self, precision=a + b), math.log(a) - math.log(b))

    def starting(self, value: Tensor, trials: Tensor) -> Self:
        """The precision by moments of the observed shares, kept moderate."""
        share = (value / trials.clamp_min(1.0)).double()
        if len(share) < 2:
            return self
        mean, var = float(share.mean()), max(float(share.var()), 1e-9)
        return replace(self, precision=min(max(mean * (1 - mean) / var - 1, LEAST), MOST))

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        a, b = self._both(eta)
        draw = torch.distributions.Beta(a, b).sample()
        tiny = torch.finfo(eta.dtype).eps
        return trials * draw.clamp(tiny, 1 - tiny)

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Shares lie strictly between 0 and 1."""
        share = value / trials.clamp_min(1.0)
        outside = (share <= 0) | (share >= 1)
        if not bool(outside.any()):
            return None
        return (
            f"Family beta takes shares strictly between 0 and 1, and the log holds {float(share[outside][0]):g}: move "
            "such values inside (.001, say), or use family gaussian."
        )
