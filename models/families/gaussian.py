"""Real-valued ratings."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.component import log_of
from pyrorec.models.families.base import Outcome
from pyrorec.models.families.exponential_family import ExponentialFamily, Fitted
from pyrorec.models.families.sums import Sums
from pyrorec.models.mass import Mass, SquareMass

SMALLEST_SD = 1e-3


@dataclass(frozen=True)
class Gaussian(ExponentialFamily):
    """r ~ N(eta, sd) with one sd for the whole log, learned: both parameters are free (maths 1.1.3, 6.5).

    phi = (r, r^2), natural = (mu / sd^2, -1 / (2 sd^2)), A = -eta1^2 / (4 eta2) - log(-2 eta2) / 2, h = 1/sqrt(2 pi).
    A cell's value is the sum of `trials` ratings, which are taken to have been alike.
    """

    name: ClassVar[str] = "gaussian"
    learned: ClassVar[tuple[str, ...]] = ("sd",)
    outcome: ClassVar[Outcome] = Outcome.RATING
    mass: ClassVar[type[Mass]] = SquareMass
    support: ClassVar[constraints.Constraint] = constraints.real
    canonical_link: ClassVar[str] = "(mu / sd^2, -1 / (2 sd^2))"
    practical_link: ClassVar[str] = "identity, log of the sd"

    sd: float | Tensor = 1.0

    def _sd(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.sd, dtype=like.dtype, device=like.device)

    def _log_norm(self) -> float | Tensor:
        return 0.5 * math.log(2 * math.pi) + log_of(self.sd)

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """trials times (r, r^2)."""
        return torch.stack([value, value**2 / trials.clamp_min(1.0)], -1)

    def natural(self, eta: Tensor) -> Tensor:
        """(mu / sd^2, -1 / (2 sd^2))."""
        precision = self._sd(eta) ** -2
        return torch.stack(torch.broadcast_tensors(eta * precision, -0.5 * precision), -1)

    def log_partition(self, natural: Tensor) -> Tensor:
        """-eta1^2 / (4 eta2) - log(-2 eta2) / 2."""
        first, second = natural.unbind(-1)
        return -(first**2) / (4 * second) - 0.5 * torch.log(-2 * second)

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """-(trials / 2) log 2 pi."""
        return -0.5 * math.log(2 * math.pi) * trials.expand_as(value)

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """-trials [(r - eta)^2 / (2 sd^2) + log sd + (1/2) log 2 pi], r = value / trials."""
        return -trials * (0.5 * ((value / trials.clamp_min(1.0) - eta) / self.sd) ** 2 + self._log_norm())

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """`log_prob` at the mean, less trials v / (2 sd^2)."""
        return self.log_prob(value, trials, mean) - 0.5 * trials * variance / self.sd**2

    def predictive_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """`log_prob` with the variance added to sd^2: exact for one trial, whose noise it widens."""
        return Gaussian(torch.sqrt(self._sd(mean) ** 2 + variance)).log_prob(value, trials, mean)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Zeros as data: minus the sum of squares over 2 sd^2, minus the normaliser of each cell."""
        return -0.5 * mass / self.sd**2 - cells * self._log_norm()

    def maximum_likelihood(self, sums: Sums) -> Fitted:
        """Mean and sd of the ratings."""
        first, second = sums.mean.tolist()
        return Fitted(replace(self, sd=math.sqrt(max(second - first**2, SMALLEST_SD**2))), first)

    def starting(self, value: Tensor, trials: Tensor) -> Self:
        """The noise starts as large as the values' own spread."""
        return replace(self, sd=max(spread(value), SMALLEST_SD))

    def mean(self, eta: Tensor) -> Tensor:
        """eta itself."""
        return eta

    def variance(self, eta: Tensor) -> Tensor:
        """sd^2."""
        return (self._sd(eta) ** 2).expand_as(eta)

    def link(self, mean: float) -> float:
        """The mean itself."""
        return mean

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return trials * eta + trials.sqrt() * self.sd * torch.randn_like(eta)


def spread(value: Tensor) -> float:
    """Standard deviation of some values, 1 where there are fewer than two."""
    return float(value.std()) if len(value) > 1 else 1.0
