"""Standardised log-popularity added with a non-negative coefficient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.normal import Normal
from pyrorec.models.predictors.base import Offset


@dataclass(frozen=True)
class Additive(Offset):
    """eta = b0 + a + gamma zeta with gamma > 0 learned on the log scale (maths 7.1).

    gamma is `popularity_effect`; (gamma, zeta) and (-gamma, -zeta) would be the same model, hence the sign.
    """

    name: ClassVar[str] = "additive"
    learned: ClassVar[tuple[str, ...]] = ("popularity_effect",)
    scale: ClassVar[Scale | None] = Scale.LOG

    popularity_effect: float | Tensor = 1.0

    def offset(self, popularity: Tensor) -> Tensor:
        """gamma zeta, for zeta on the standardised log scale."""
        return self.popularity_effect * popularity

    def offset_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """gamma E zeta and gamma^2 Var zeta."""
        return self.offset(law.mean), self.popularity_effect**2 * law.variance

    @classmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        return Normal()
