"""Gamma popularity with mean one: the frailty prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.excess import lgamma_excess, stirling_excess
from pyrorec.models.special import (
    HALF_LOG_TWO_PI,
    deviance,
    digamma_remainder,
    in_double,
    lgamma_difference,
    log_deviance,
    phi1_ratio,
    stirling_remainder,
    trigamma,
)


@dataclass(frozen=True)
class Gamma(PopularityDistribution):
    """z ~ Gamma(shape, rate = shape): mean 1, variance 1 / shape; the shape is learned (maths 3.6).

    The model's intercept carries the level, so the prior's mean is fixed at one.
    """

    name: ClassVar[str] = "gamma"
    learned: ClassVar[tuple[str, ...]] = ("shape",)
    scale: ClassVar[Scale] = Scale.RATE

    shape: float | Tensor = 1.0

    def population(self, like: Tensor | None = None) -> dist.Gamma:
        """Gamma(shape, shape) on the rate scale."""
        shape = torch.as_tensor(self.shape)
        shape = shape if like is None else shape.to(like)
        return dist.Gamma(shape, shape)


def match_gamma(mean: Tensor, mean_log: Tensor) -> dist.Gamma:
    """The Gamma with given E z and E log z (the nearest Gamma in KL(p || Gamma)).

    Solves log a - psi(a) = log mean - mean_log by Newton on log a from Minka's start; any shape, both of
    the same shape, mean > 0 and mean_log < log mean.
    """
    gap = (mean.log() - mean_log).clamp_min(1e-12)
    a = (3 - gap + torch.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    for _ in range(6):
        f = a.log() - torch.digamma(a) - gap
        slope = 1 - a * torch.polygamma(1, a)  # derivative with respect to log a, always negative
        a = a * torch.exp((-f / slope).clamp(-2, 2))
    return dist.Gamma(a, a / mean)


@in_double
def gamma_to_gamma(a: Tensor, b: Tensor, a0: Tensor, b0: Tensor) -> Tensor:
    """KL(Gamma(a, b) || Gamma(a0, b0)), rates b: a term of the means and one of the shapes, both >= 0 (maths 4.2)."""
    return deviance(a0, a * (b0 / b)) + stirling_excess(a0, a)


@in_double
def gamma_to_gamma_single(a: Tensor, b: Tensor, a0: Tensor, b0: Tensor) -> Tensor:
    """The same by the textbook's formula in double precision, for arguments in single.

    It loses what cancels between terms that grow with the shape (1e-11 of a KL of 1e-5 at shape 1e5), which single
    precision would not hold, and costs a sixth: a step of training takes it for every item.
    """
    shapes = (a - a0) * torch.digamma(a) - torch.lgamma(a) + torch.lgamma(a0)
    return shapes + a0 * torch.log(b / b0) + a * (b0 / b - 1)


@in_double
def gamma_to_lognormal(a: Tensor, b: Tensor, mu: Tensor, s: Tensor) -> Tensor:
    """KL(Gamma(a, b) || LogNormal(mu, s)), with the spread of log z compared by phi1 (maths 4.2).

    What is left, log(a psi1(a)) / 2 + a P(a) - R(a), is how far log z is from normal: about 1 / (12 a).
    """
    spread = trigamma(a)
    shape = 0.5 * torch.log(a * spread) + a * digamma_remainder(a) - stirling_remainder(a)
    return 0.5 * phi1_ratio(spread, s * s) + shape + 0.5 * ((torch.digamma(a) - b.log() - mu) / s) ** 2


@in_double
def gamma_to_weibull(a: Tensor, b: Tensor, k: Tensor, scale: Tensor) -> Tensor:
    """KL(Gamma(a, b) || Weibull(k, scale)): phi1 of E (z / scale)^k, an excess of log Gamma, the shapes (maths 4.2).

    The shapes enter by -entropy(log z) = log(a / (2 pi e)) / 2 + a P(a) - R(a), where no a log a is left to cancel.
    """
    log_power = lgamma_difference(a, k) - k * torch.log(b * scale)
    shapes = 0.5 * a.log() - HALF_LOG_TWO_PI + 0.5 + a * digamma_remainder(a) - stirling_remainder(a) - k.log()
    return log_deviance(torch.ones_like(a), log_power) + lgamma_excess(a + k, a) + shapes


@register_kl(dist.Gamma, dist.Gamma)
def _(q: dist.Gamma, p: dist.Gamma) -> Tensor:
    double = torch.float64 in (q.concentration.dtype, p.concentration.dtype)
    formula = gamma_to_gamma if double else gamma_to_gamma_single
    return formula(q.concentration, q.rate, p.concentration, p.rate)


@register_kl(dist.Gamma, dist.Exponential)
def _(q: dist.Gamma, p: dist.Exponential) -> Tensor:
    """The Exponential as Gamma(1, rate)."""
    return gamma_to_gamma(q.concentration, q.rate, torch.ones_like(p.rate), p.rate)


@register_kl(dist.Gamma, dist.LogNormal)
def _(q: dist.Gamma, p: dist.LogNormal) -> Tensor:
    return gamma_to_lognormal(q.concentration, q.rate, p.loc, p.scale)


@register_kl(dist.Gamma, dist.Weibull)
def _(q: dist.Gamma, p: dist.Weibull) -> Tensor:
    return gamma_to_weibull(q.concentration, q.rate, p.concentration, p.scale)
