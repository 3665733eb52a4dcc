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


def normal_to_normal_single(m: Tensor, s: Tensor, m0: Tensor, s0: Tensor) -> Tensor:
    """The same by the textbook's formula, off by a few roundings of its largest term: at single precision that is all a
    step of training can use, at a seventh of the cost."""
    ratio = s / s0
    return 0.5 * (ratio.square() - 1) - ratio.log() + 0.5 * ((m - m0) / s0).square()


@register_kl(dist.Normal, dist.Normal)
def _(q: dist.Normal, p: dist.Normal) -> Tensor:
    double = torch.float64 in (q.loc.dtype, p.loc.dtype)
    return (normal_to_normal if double else normal_to_normal_single)(q.loc, q.scale, p.loc, p.scale)
