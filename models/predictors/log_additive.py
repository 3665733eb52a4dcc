"""Popularity multiplies a rate: the frailty predictor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.gamma import Gamma
from pyrorec.models.predictors.base import Predictor


@dataclass(frozen=True)
class LogAdditive(Predictor):
    """eta = b0 + a + log z, that is rate = z exp(b0 + a), with z > 0 (maths 2.5).

    With Gamma popularity the row's own z is integrated out exactly.
    """

    name: ClassVar[str] = "log-additive"
    scale: ClassVar[Scale | None] = Scale.RATE
    integrates: ClassVar[bool] = True
    needs_log_rate: ClassVar[bool] = True

    def offset(self, popularity: Tensor) -> Tensor:
        """log z, for z on the rate scale."""
        return popularity.log()

    def offset_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """log E z, and Var log z = psi1(shape) for a Gamma (maths 4.1), zero for a point."""
        if isinstance(law, dist.Gamma):
            return law.mean.log(), torch.polygamma(1, law.concentration)
        return law.mean.log(), torch.zeros_like(law.mean)

    @classmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        return Gamma()
