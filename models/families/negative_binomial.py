"""Counts more spread than Poisson's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.component import log_of
from pyrorec.models.families.base import Outcome, refuse_fractions
from pyrorec.models.families.log_mean import LogMean
from pyrorec.models.integrals.softplus import expected_softplus
from pyrorec.models.mass import Mass, SoftplusMass, safe_exp

LEAST, MOST = 0.1, 100.0
"""Where the dispersion may start."""


@dataclass(frozen=True)
class NegativeBinomial(LogMean):
    """y ~ Poisson(g e^eta), g ~ Gamma(r0, r0) of each cell: variance mu + mu^2 / r0, r0 learned (maths 6.5).

    r0 is `dispersion`: the smaller, the more spread. phi = y, natural = log(mu / (mu + r0)), A = -r0 log(1 - e^natural)
    at a known r0. The counts of several trials are added, so that a cell of n trials has n r0.
    """

    name: ClassVar[str] = "negative-binomial"
    learned: ClassVar[tuple[str, ...]] = ("dispersion",)
    outcome: ClassVar[Outcome] = Outcome.COUNT
    mass: ClassVar[type[Mass]] = SoftplusMass
    support: ClassVar[constraints.Constraint] = constraints.nonnegative_integer
    canonical_link: ClassVar[str] = "log(mu / (mu + r0))"

    dispersion: float | Tensor = 1.0

    def _r0(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.dispersion, dtype=like.dtype, device=like.device)

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """The count."""
        return value[..., None]

    def natural(self, eta: Tensor) -> Tensor:
        """log(mu / (mu + r0)), below zero."""
        return F.logsigmoid(eta - self._r0(eta).log())[..., None]

    def log_partition(self, natural: Tensor) -> Tensor:
        """-r0 log(1 - e^natural)."""
        return -self.dispersion * torch.log(-torch.expm1(natural[..., 0]))

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """log G(y + n r0) - log G(n r0) - log y!, n the trials."""
        none = trials == 0
        shape = torch.where(none, torch.ones_like(trials), trials * self._r0(trials))
        return torch.lgamma(value + shape) - torch.lgamma(shape) - torch.lgamma(value + 1)

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """y x - (y + n r0) softplus(x) + log h, x = eta - log r0."""
        r0 = self._r0(eta)
        x = eta - r0.log()
        return value * x - (value + trials * r0) * F.softplus(x) + self.log_base(value, trials)

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """The same with E softplus(x) (maths 5)."""
        r0 = self._r0(mean)
        x = mean - r0.log()
        return value * x - (value + trials * r0) * expected_softplus(x, variance) + self.log_base(value, trials)

    def mass_line(self) -> tuple[float | Tensor, float | Tensor] | None:
        """eta - log r0: a zero has log-probability -r0 softplus of it."""
        return 1.0, -log_of(self.dispersion)

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """-r0 times the summed softplus(eta - log r0)."""
        return -self.dispersion * mass

    def variance(self, eta: Tensor) -> Tensor:
        """mu + mu^2 / r0."""
        mu = self.mean(eta)
        return mu + mu**2 / self.dispersion

    def starting(self, value: Tensor, trials: Tensor) -> Self:
        """r0 by moments of the observed counts, kept moderate: what the factors explain is not dispersion."""
        mean, var = float(value.mean()), float(value.var()) if len(value) > 1 else 0.0
        return replace(self, dispersion=min(max(mean**2 / max(var - mean, 1e-6), LEAST), MOST))

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        shape = (trials * self._r0(eta)).expand_as(eta)
        rate = torch.distributions.Gamma(shape.clamp_min(1e-30), self._r0(eta)).sample()
        return torch.poisson(rate * safe_exp(eta) * (shape > 0))

    def refusal(self, value: Tensor, trials: Tensor) -> str | None:
        """Counts are whole numbers."""
        return refuse_fractions(self.name, value)
