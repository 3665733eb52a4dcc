"""Gamma popularity with mean one: the frailty prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.base import PopularityDistribution, Scale


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
