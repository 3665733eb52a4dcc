"""Weibull popularity with mean one, and Weibull laws: (z / scale)^shape is a standard exponential, which settles every
KL.

Their draws are scale (-log U)^(1 / shape): reparameterised, and free of the underflow of Gamma draws (maths 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.gamma import gamma_to_lognormal
from pyrorec.models.excess import lgamma_excess
from pyrorec.models.special import (
    HALF_LOG_TWO_PI,
    in_double,
    lgamma_difference,
    log_deviance,
    stirling_remainder,
)

EULER = 0.5772156649015329


@dataclass(frozen=True)
class Weibull(PopularityDistribution):
    """z ~ Weibull(shape k, scale 1 / Gamma(1 + 1 / k)): mean 1; the shape is learned (maths 4.1).

    Shape 1 is the exponential; below, tails are heavier than a Gamma's and lighter than a lognormal's. The model's
    intercept carries the level, so the prior's mean is fixed at one.
    """

    name: ClassVar[str] = "weibull"
    learned: ClassVar[tuple[str, ...]] = ("shape",)
    scale: ClassVar[Scale] = Scale.RATE

    shape: float | Tensor = 1.0

    def population(self, like: Tensor | None = None) -> dist.Weibull:
        """Weibull(1 / Gamma(1 + 1 / shape), shape) on the rate scale."""
        shape = torch.as_tensor(self.shape)
        shape = shape if like is None else shape.to(like)
        return dist.Weibull(torch.exp(-torch.lgamma(1 + 1 / shape)), shape)


@in_double
def weibull_to_weibull(k1: Tensor, scale1: Tensor, k2: Tensor, scale2: Tensor) -> Tensor:
    """KL(Weibull(k1, scale1) || Weibull(k2, scale2)), shapes k (maths 4.2).

    With r = k2 / k1 it is phi1 of E (z / scale2)^k2 and the excess of log Gamma at r over its tangent at 1, both >= 0.
    """
    r = k2 / k1
    log_power = lgamma_difference(torch.ones_like(r), r) + k2 * torch.log(scale1 / scale2)
    return log_deviance(torch.ones_like(r), log_power) + lgamma_excess(r, torch.ones_like(r))


@in_double
def weibull_to_gamma(k: Tensor, scale: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """KL(Weibull(k, scale) || Gamma(a, b)), rate b: a term of the means, one of E log z, and the shapes (maths 4.2)."""
    one = torch.ones_like(k)
    means = log_deviance(a, torch.log(b * scale) + lgamma_difference(one, 1 / k))
    shapes = k.log() - 0.5 * a.log() + HALF_LOG_TWO_PI - EULER - 1 + stirling_remainder(a)
    return means + a * lgamma_excess(1 + 1 / k, one) + shapes


@in_double
def weibull_to_exponential(k: Tensor, scale: Tensor, rate: Tensor) -> Tensor:
    """KL(Weibull(k, scale) || Exponential(rate)), which is Weibull(1, 1 / rate)."""
    return weibull_to_weibull(k, scale, torch.ones_like(rate), 1 / rate)


@in_double
def weibull_to_lognormal(k: Tensor, scale: Tensor, mu: Tensor, s: Tensor) -> Tensor:
    """KL(Weibull(k, scale) || LogNormal(mu, s)): that of a standard exponential from (z / scale)^k (maths 4.2)."""
    one = torch.ones_like(k)
    return gamma_to_lognormal(one, one, k * (mu - scale.log()), k * s)


@register_kl(dist.Weibull, dist.Weibull)
def _(q: dist.Weibull, p: dist.Weibull) -> Tensor:
    return weibull_to_weibull(q.concentration, q.scale, p.concentration, p.scale)


@register_kl(dist.Weibull, dist.Gamma)
def _(q: dist.Weibull, p: dist.Gamma) -> Tensor:
    return weibull_to_gamma(q.concentration, q.scale, p.concentration, p.rate)


@register_kl(dist.Weibull, dist.Exponential)
def _(q: dist.Weibull, p: dist.Exponential) -> Tensor:
    return weibull_to_exponential(q.concentration, q.scale, p.rate)


@register_kl(dist.Weibull, dist.LogNormal)
def _(q: dist.Weibull, p: dist.LogNormal) -> Tensor:
    return weibull_to_lognormal(q.concentration, q.scale, p.loc, p.scale)
