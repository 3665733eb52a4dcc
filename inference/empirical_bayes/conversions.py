"""Laws of popularity on other scales: moments of log z, and z in another unit."""

from __future__ import annotations

from functools import singledispatch

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.gamma import match_gamma

Law = dist.TorchDistribution


@singledispatch
def log_moments(law: Law) -> tuple[Tensor, Tensor]:
    """Mean and sd of log z, each of the law's batch shape (maths 3.8); TypeError for an unknown law."""
    raise TypeError(f"no moments of log z are known for {type(law).__name__}: register them with log_moments")


@log_moments.register(dist.Gamma)
def _(law: dist.Gamma) -> tuple[Tensor, Tensor]:
    a = law.concentration
    return torch.digamma(a) - law.rate.log(), torch.polygamma(1, a).sqrt()


@log_moments.register(dist.LogNormal)
def _(law: dist.LogNormal) -> tuple[Tensor, Tensor]:
    return law.loc, law.scale


@log_moments.register(dist.Beta)
def _(law: dist.Beta) -> tuple[Tensor, Tensor]:
    a, total = law.concentration1, law.concentration1 + law.concentration0
    return torch.digamma(a) - torch.digamma(total), (torch.polygamma(1, a) - torch.polygamma(1, total)).sqrt()


@log_moments.register(dist.Delta)
def _(law: dist.Delta) -> tuple[Tensor, Tensor]:
    return law.v.log(), torch.zeros_like(law.v)


@singledispatch
def divided(law: Law, unit: float) -> Law:
    """The law of z / unit; TypeError for an unknown law.

    A probability divided by its mean has no law of its own: of a Beta it is the Gamma with the same E z and E log z.
    """
    raise TypeError(f"it is not known how to divide {type(law).__name__} by a number: register it with divided")


@divided.register(dist.Gamma)
def _(law: dist.Gamma, unit: float) -> Law:
    return dist.Gamma(law.concentration, law.rate * unit)


@divided.register(dist.LogNormal)
def _(law: dist.LogNormal, unit: float) -> Law:
    return dist.LogNormal(law.loc - torch.tensor(unit, dtype=torch.float64).log(), law.scale)


@divided.register(dist.Beta)
def _(law: dist.Beta, unit: float) -> Law:
    return divided(match_gamma(law.mean, log_moments(law)[0]), unit)


@divided.register(dist.Delta)
def _(law: dist.Delta, unit: float) -> Law:
    return dist.Delta(law.v / unit)
