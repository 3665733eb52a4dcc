"""Counts out of a number that is the same for every cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families.base import Outcome, inside, refuse_fractions
from pyrorec.models.families.bernoulli import log_choose
from pyrorec.models.families.exponential_family import ExponentialFamily
from pyrorec.models.integrals.softplus import expected_softplus
from pyrorec.models.mass import Mass, SoftplusMass


@dataclass(frozen=True)
class Binomial(ExponentialFamily):
    """y ~ Binomial(n, sigma(eta)), n = `size`: phi = y, A = n softplus(eta), variance mu (1 - mu/n) (maths 6.5).

    For logs whose values are counts out of a known number, such as days of a week or stars taken as steps. Where
    each cell has a number of its own, in the log as repeated records or trials, `Bernoulli` is the same law.
    Raises ValueError for a size below one.
    """

    name: ClassVar[str] = "binomial"
    outcome: ClassVar[Outcome] = Outcome.COUNT
    mass: ClassVar[type[Mass]] = SoftplusMass
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer
    canonical_link: ClassVar[str] = "logit"
    practical_link: ClassVar[str] = "logit"

    size: int = 5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """The count."""
        return value[..., None]

    def natural(self, eta: Tensor) -> Tensor:
        """eta itself."""
        return eta[..., None]

    def log_partition(self, natural: Tensor) -> Tensor:
        """n softplus."""
        return self.size * F.softplus(natural[..., 0])

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """log binomial(n trials, y)."""
        return log_choose(self.size * trials, value)

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """y eta - n trials softplus(eta) + log binomial(n trials, y)."""
        return value * eta - self.size * trials * F.softplus(eta) + self.log_base(value, trials)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """y m - n trials E softplus(eta) + log binomial(n trials, y) (maths 5)."""
        spread = self.size * trials * expected_softplus(mean, variance)
        return value * mean - spread + self.log_base(value, trials)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Minus n times the summed softplus(eta)."""
        return -self.size * mass

    def mean(self, eta: Tensor) -> Tensor:
        """n sigma(eta)."""
        return self.size * torch.sigmoid(eta)

    def variance(self, eta: Tensor) -> Tensor:
        """n sigma(eta) sigma(-eta)."""
        return self.size * torch.sigmoid(eta) * torch.sigmoid(-eta)

    def link(self, mean: float) -> float:
        """logit(mean / n)."""
        p = inside(mean / self.size)
        return math.log(p) - math.log1p(-p)

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return torch.binomial((self.size * trials).expand_as(eta).contiguous(), torch.sigmoid(eta))

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Counts are whole numbers up to n trials."""
        if bool((value > self.size * trials).any()):
            return (
                f"Family binomial of size {self.size} takes counts up to it, but the log holds {float(value.max()):g}: "
                "give the size (model.family, size) or use family negative-binomial or poisson."
            )
        return refuse_fractions(self.name, value)
