"""Exponential popularity with mean one: the frailty whose click probability is exactly logistic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.distributions.gamma import gamma_to_gamma, gamma_to_lognormal
from pyrorec.models.distributions.weibull import weibull_to_weibull
from pyrorec.models.special import in_double, phi1_ratio


@dataclass(frozen=True)
class Exponential(PopularityDistribution):
    """z ~ Exponential(rate 1): mean and variance 1, nothing learned.

    The model's intercept carries the level. Under the cloglog link the marginal click is then logistic in the
    linear predictor (maths 2.5), so that what Gamma popularity adds can be told from it.
    """

    name: ClassVar[str] = "exponential"
    scale: ClassVar[Scale] = Scale.RATE

    def population(self, like: Tensor | None = None) -> dist.Exponential:
        """Exponential(1) on the rate scale."""
        like = torch.zeros(()) if like is None else like
        return dist.Exponential(like.new_ones(()))


@in_double
def exponential_to_weibull(rate: Tensor, k: Tensor, scale: Tensor) -> Tensor:
    """KL(Exponential(rate) || Weibull(k, scale)): the former is Weibull(1, 1 / rate)."""
    return weibull_to_weibull(torch.ones_like(rate), 1 / rate, k, scale)


@register_kl(dist.Exponential, dist.Exponential)
def _(q: dist.Exponential, p: dist.Exponential) -> Tensor:
    """phi1(r0 / r) (maths 4.2)."""
    return phi1_ratio(p.rate, q.rate)


@register_kl(dist.Exponential, dist.Gamma)
def _(q: dist.Exponential, p: dist.Gamma) -> Tensor:
    """As Gamma(1, rate)."""
    return gamma_to_gamma(torch.ones_like(q.rate), q.rate, p.concentration, p.rate)


@register_kl(dist.Exponential, dist.LogNormal)
def _(q: dist.Exponential, p: dist.LogNormal) -> Tensor:
    """As Gamma(1, rate)."""
    return gamma_to_lognormal(torch.ones_like(q.rate), q.rate, p.loc, p.scale)


@register_kl(dist.Exponential, dist.Weibull)
def _(q: dist.Exponential, p: dist.Weibull) -> Tensor:
    return exponential_to_weibull(q.rate, p.concentration, p.scale)
