"""Real-valued ratings."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import constraints

from pyrorec.models.families.base import Family, Outcome
from pyrorec.models.mass import Mass, SquareMass


@dataclass(frozen=True)
class Gaussian(Family):
    """r ~ N(eta, sd) with one sd for the whole log, learned (maths 6.5).

    A cell's value is the sum of `trials` ratings, which are taken to have been alike.
    """

    name: ClassVar[str] = "gaussian"
    learned: ClassVar[tuple[str, ...]] = ("sd",)
    outcome: ClassVar[Outcome] = Outcome.RATING
    mass: ClassVar[type[Mass]] = SquareMass
    support: ClassVar[constraints.Constraint] = constraints.real

    sd: float | Tensor = 1.0

    def _log_norm(self) -> float | Tensor:
        half_log_two_pi = 0.5 * math.log(2 * math.pi)
        return half_log_two_pi + (self.sd.log() if isinstance(self.sd, Tensor) else math.log(self.sd))

    def log_prob(self, value: Tensor, trials: Tensor, eta: Tensor) -> Tensor:
        """-trials [(r - eta)^2 / (2 sd^2) + log sd + (1/2) log 2 pi], r = value / trials."""
        return -trials * (0.5 * ((value / trials.clamp_min(1.0) - eta) / self.sd) ** 2 + self._log_norm())

    def expected_log_prob(self, value: Tensor, trials: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """`log_prob` at the mean, less trials v / (2 sd^2)."""
        return self.log_prob(value, trials, mean) - 0.5 * trials * variance / self.sd**2

    def zeros(self, mass: Tensor, cells: Tensor | int) -> Tensor:
        """Zeros as data: minus the sum of squares over 2 sd^2, minus the normaliser of each cell."""
        return -0.5 * mass / self.sd**2 - cells * self._log_norm()

    def starting(self, spread: float) -> Self:
        """The noise starts as large as the values' own spread."""
        return replace(self, sd=max(spread, 1e-3))

    def mean(self, eta: Tensor) -> Tensor:
        """eta itself."""
        return eta

    def link(self, mean: float) -> float:
        """The mean itself."""
        return mean

    def sample(self, eta: Tensor, trials: Tensor) -> Tensor:
        return trials * eta + trials.sqrt() * self.sd * torch.randn_like(eta)
