"""Popularity multiplies the odds of a click."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.gamma import Gamma
from pyrorec.models.families.base import Family
from pyrorec.models.families.bernoulli import Bernoulli
from pyrorec.models.moments import lognormal_match, mean_log, variance_log
from pyrorec.models.predictors.base import Offset, UnfitPair


@dataclass(frozen=True)
class Odds(Offset):
    """P(click) = 1 / (1 + exp(-a) / z) = sigma(a + log z), with z > 0 (maths 1.2.7)."""

    name: ClassVar[str] = "odds"
    scale: ClassVar[Scale | None] = Scale.RATE

    def check_family(self, family: Family) -> None:
        if not isinstance(family, Bernoulli):
            raise UnfitPair(f"predictor odds multiplies the odds of a click: use family bernoulli, not {family.name}")

    def offset(self, popularity: Tensor) -> Tensor:
        """log z, for z on the rate scale."""
        return popularity.log()

    def offset_at(self, node: Tensor) -> Tensor:
        """The node itself, so that a tiny z does not underflow on the way."""
        return node

    def offset_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """E log z and Var log z (maths 4.1)."""
        return mean_log(law), variance_log(law)

    def matched_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Mean and variance of log z under the lognormal with the law's mean and variance of z, as in `LogAdditive`:
        at small odds the response is a rate."""
        return lognormal_match(law)

    @classmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        return Gamma()
