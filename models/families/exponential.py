"""Positive amounts that scatter as much as they are large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.absent import ONLY_MISSING, Absent
from pyrorec.models.families.base import Outcome
from pyrorec.models.families.log_mean import LogMean
from pyrorec.models.families.positive import refuse_nonpositive
from pyrorec.models.mass import safe_exp


@dataclass(frozen=True)
class ExponentialResponse(LogMean):
    """r ~ Exponential with mean e^eta: phi = r, natural = -1/mu, A = -log(-natural), variance mu^2 (maths 6.5).

    The amounts of several trials are added, so that n trials have a Gamma of shape n. Absent cells are missing, as no
    amount is zero.
    """

    name: ClassVar[str] = "exponential"
    outcome: ClassVar[Outcome] = Outcome.AMOUNT
    absent: ClassVar[frozenset[Absent]] = ONLY_MISSING
    support: ClassVar[constraints.Constraint] = constraints.positive
    canonical_link: ClassVar[str] = "-1 / mu"

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """The amount."""
        return value[..., None]

    def natural(self, eta: Tensor) -> Tensor:
        """-1 / mu."""
        return -safe_exp(-eta)[..., None]

    def log_partition(self, natural: Tensor) -> Tensor:
        """-log(-natural)."""
        return -torch.log(-natural[..., 0])

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """(n - 1) log r - log G(n) for the sum r of n trials; zero for one."""
        none = trials == 0
        more = torch.where(none, torch.zeros_like(trials), trials - 1)
        return torch.xlogy(more, value) - torch.lgamma(more + 1)

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """-n eta - r e^-eta + log h."""
        return -trials * eta - value * safe_exp(-eta) + self.log_base(value, trials)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """-n m - r e^(-m + v/2) + log h."""
        return -trials * mean - value * safe_exp(0.5 * variance - mean) + self.log_base(value, trials)

    def variance(self, eta: Tensor) -> Tensor:
        """mu^2."""
        return self.mean(eta) ** 2

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        shape = trials.expand_as(eta)
        draw = torch.distributions.Gamma(shape.clamp_min(1e-30), torch.ones_like(eta)).sample()
        return draw * safe_exp(eta) * (shape > 0)

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Amounts are above zero."""
        return refuse_nonpositive(self.name, value)
