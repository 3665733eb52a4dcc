"""LogNormal popularity with mean one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.normal import normal_to_normal
from pyrorec.models.special import in_double, log_deviance, phi1_ratio, stirling_remainder


@dataclass(frozen=True)
class LogNormal(PopularityDistribution):
    """log z ~ N(-sd^2 / 2, sd): mean 1, variance exp(sd^2) - 1; the sd is learned (maths 3.2).

    The model's intercept carries the level, so the prior's mean is fixed at one.
    """

    name: ClassVar[str] = "lognormal"
    learned: ClassVar[tuple[str, ...]] = ("sd",)
    scale: ClassVar[Scale] = Scale.RATE

    sd: float | Tensor = 1.0

    def population(self, like: Tensor | None = None) -> dist.LogNormal:
        """LogNormal(-sd^2 / 2, sd) on the rate scale."""
        sd = torch.as_tensor(self.sd)
        sd = sd if like is None else sd.to(like)
        return dist.LogNormal(-0.5 * sd**2, sd)


@in_double
def lognormal_to_gamma(mu: Tensor, s: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """KL(LogNormal(mu, s) || Gamma(a, b)), rate b: terms of means, spreads and the shape, all >= 0 (maths 4.2)."""
    means = log_deviance(a, mu + 0.5 * s**2 + b.log())
    return means + 0.5 * phi1_ratio(a * s * s, torch.ones_like(s)) + stirling_remainder(a)


@in_double
def lognormal_to_weibull(mu: Tensor, s: Tensor, k: Tensor, scale: Tensor) -> Tensor:
    """KL(LogNormal(mu, s) || Weibull(k, scale)): that of (z / scale)^k from a standard exponential (maths 4.2)."""
    one = torch.ones_like(k)
    return lognormal_to_gamma(k * (mu - scale.log()), k * s, one, one)


@register_kl(dist.LogNormal, dist.LogNormal)
def _(q: dist.LogNormal, p: dist.LogNormal) -> Tensor:
    """That of the normal laws of log z."""
    return normal_to_normal(q.loc, q.scale, p.loc, p.scale)


@register_kl(dist.LogNormal, dist.Gamma)
def _(q: dist.LogNormal, p: dist.Gamma) -> Tensor:
    return lognormal_to_gamma(q.loc, q.scale, p.concentration, p.rate)


@register_kl(dist.LogNormal, dist.Exponential)
def _(q: dist.LogNormal, p: dist.Exponential) -> Tensor:
    """The Exponential as Gamma(1, rate)."""
    return lognormal_to_gamma(q.loc, q.scale, torch.ones_like(p.rate), p.rate)


@register_kl(dist.LogNormal, dist.Weibull)
def _(q: dist.LogNormal, p: dist.Weibull) -> Tensor:
    return lognormal_to_weibull(q.loc, q.scale, p.concentration, p.scale)
