"""Popularity multiplies a rate: the frailty predictor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.gamma import Gamma
from pyrorec.models.moments import lognormal_match, mean_log, variance_log
from pyrorec.models.predictors.base import Offset


@dataclass(frozen=True)
class LogAdditive(Offset):
    """eta = b0 + a + log z, that is rate = z exp(b0 + a), with z > 0 (maths 2.5).

    With Gamma popularity the row's own z is integrated out exactly.
    """

    name: ClassVar[str] = "log-additive"
    scale: ClassVar[Scale | None] = Scale.RATE
    needs_log_rate: ClassVar[bool] = True

    def offset(self, popularity: Tensor) -> Tensor:
        """log z, for z on the rate scale."""
        return popularity.log()

    def offset_at(self, node: Tensor) -> Tensor:
        """The node itself, so that a tiny z does not underflow on the way."""
        return node

    def offset_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """E log z and Var log z: psi(a) - log b and psi1(a) for a Gamma (maths 4.1), log v and 0 for a point."""
        return mean_log(law), variance_log(law)

    def matched_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Mean and variance of log z under the lognormal with the law's mean and variance of z.

        Variance log(1 + 1/shape) for a Gamma, zero for a point. Matching on the rate scale keeps expected
        rates exact; for shapes of a few and more it agrees with (psi(a) - log b, psi1(a)).
        """
        return lognormal_match(law)

    @classmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        return Gamma()
