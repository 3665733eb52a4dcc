"""Real values whose noise is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pyrorec.models.families.exponential_family import Fitted
from pyrorec.models.families.gaussian import Gaussian
from pyrorec.models.families.sums import Sums


@dataclass(frozen=True)
class GaussianKnown(Gaussian):
    """r ~ N(eta, sd) with the sd as given: phi = r, natural = mu / sd^2, A = sd^2 natural^2 / 2, h = N(r; 0, sd).

    Maths 6.5. A cell's value is the sum of `trials` ratings, which are taken to have been alike.
    """

    name: ClassVar[str] = "gaussian-known"
    learned: ClassVar[tuple[str, ...]] = ()
    canonical_link: ClassVar[str] = "mu / sd^2"
    practical_link: ClassVar[str] = "identity"

    def statistic(self, value: Tensor, trials: Tensor) -> Tensor:
        """The sum of the ratings."""
        return value[..., None]

    def natural(self, eta: Tensor) -> Tensor:
        """mu / sd^2."""
        return (eta / self._sd(eta) ** 2)[..., None]

    def log_partition(self, natural: Tensor) -> Tensor:
        """sd^2 natural^2 / 2."""
        return 0.5 * self._sd(natural) ** 2 * natural[..., 0] ** 2

    def log_base(self, value: Tensor, trials: Tensor) -> Tensor:
        """trials log N(r; 0, sd), r = value / trials."""
        standard = value / trials.clamp_min(1.0) / self._sd(value)
        return -trials * (0.5 * standard**2 + self._sd(value).log() + 0.5 * math.log(2 * math.pi))

    def starting(self, value: Tensor, trials: Tensor) -> GaussianKnown:
        """As given."""
        return self

    def maximum_likelihood(self, sums: Sums) -> Fitted:
        """The mean of the ratings."""
        return Fitted(self, float(sums.mean[0]))
