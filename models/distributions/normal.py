"""Standard normal log-popularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.special import in_double, phi1_ratio


@dataclass(frozen=True)
class Normal(PopularityDistribution):
    """zeta ~ N(0, 1), the standardised log-popularity; its effect gamma belongs to the predictor (maths 7.1)."""

    name: ClassVar[str] = "normal"
    scale: ClassVar[Scale] = Scale.LOG

    def population(self, like: Tensor | None = None) -> dist.Normal:
        """N(0, 1) on the standardised log scale."""
        like = torch.zeros(()) if like is None else like
        return dist.Normal(like.new_zeros(()), like.new_ones(()))


@in_double
def normal_to_normal(m: Tensor, s: Tensor, m0: Tensor, s0: Tensor) -> Tensor:
    """KL(N(m, s) || N(m0, s0)), sds s: a term of the spreads and one of the means, both >= 0 (maths 4.2)."""
    return 0.5 * phi1_ratio(s * s, s0 * s0) + 0.5 * ((m - m0) / s0) ** 2


@register_kl(dist.Normal, dist.Normal)
def _(q: dist.Normal, p: dist.Normal) -> Tensor:
    return normal_to_normal(q.loc, q.scale, p.loc, p.scale)
