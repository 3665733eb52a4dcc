"""Variational families of popularity, each from two unconstrained numbers: the log of a typical z, and a log spread."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
from torch import Tensor

from pyrorec.models.component import Component
from pyrorec.models.distributions import InverseGaussian, PopularityDistribution, Scale
from pyrorec.models.laws import resembling
from pyrorec.models.moments import mean_log, variance_log
from pyrorec.models.registry import Registry


class PosteriorFamily(Component):
    """q(z) from its location (log of a typical z; zeta itself on the log scale) and the log of its relative spread.

    Location and log spread mean nearly the same in every family: for a small spread e^s all have sd e^s in log z.
    """

    registry: ClassVar[Registry[PosteriorFamily]] = Registry("posterior family")
    scale: ClassVar[Scale]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def law(self, location: Tensor, log_spread: Tensor) -> dist.TorchDistribution:
        """The law, batch shape that of the two numbers."""

    @abstractmethod
    def numbers(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Location and log spread of the member of the family that resembles a law; the inverse of `law`."""


@dataclass(frozen=True)
class NormalPosterior(PosteriorFamily):
    """zeta ~ N(location, e^s)."""

    name: ClassVar[str] = "normal"
    scale: ClassVar[Scale] = Scale.LOG

    def law(self, location: Tensor, log_spread: Tensor) -> dist.Normal:
        return dist.Normal(location, log_spread.exp())

    def numbers(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Mean and log sd."""
        return law.mean, law.stddev.log()


@dataclass(frozen=True)
class LogNormalPosterior(PosteriorFamily):
    """log z ~ N(location, e^s)."""

    name: ClassVar[str] = "lognormal"
    scale: ClassVar[Scale] = Scale.RATE

    def law(self, location: Tensor, log_spread: Tensor) -> dist.LogNormal:
        return dist.LogNormal(location, log_spread.exp())

    def numbers(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Mean and log sd of log z."""
        return mean_log(law), 0.5 * variance_log(law).log()


@dataclass(frozen=True)
class GammaPosterior(PosteriorFamily):
    """z ~ Gamma(e^-2s, mean e^location)."""

    name: ClassVar[str] = "gamma"
    scale: ClassVar[Scale] = Scale.RATE

    def law(self, location: Tensor, log_spread: Tensor) -> dist.Gamma:
        return dist.Gamma((-2 * log_spread).exp(), (-2 * log_spread - location).exp())

    def numbers(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Log mean and -(1/2) log shape."""
        gamma: Any = resembling(dist.Gamma, law)
        return gamma.mean.log(), -0.5 * gamma.concentration.log()


@dataclass(frozen=True)
class WeibullPosterior(PosteriorFamily):
    """z ~ Weibull(shape pi / sqrt(6) e^-s, scale e^location), sd of log z e^s: its draws have plain gradients at any
    shape (maths 4.3)."""

    name: ClassVar[str] = "weibull"
    scale: ClassVar[Scale] = Scale.RATE

    def law(self, location: Tensor, log_spread: Tensor) -> dist.Weibull:
        return dist.Weibull(location.exp(), math.pi / math.sqrt(6.0) * (-log_spread).exp())

    def numbers(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Log scale and log sd of log z."""
        weibull: Any = resembling(dist.Weibull, law)
        return weibull.scale.log(), 0.5 * variance_log(weibull).log()


@dataclass(frozen=True)
class InverseGaussianPosterior(PosteriorFamily):
    """z ~ InverseGaussian(mean e^location, shape e^(location - 2s)), sd of z e^s times its mean.

    Its draws carry no gradient: for objectives that do not draw popularity, or use the score function.
    """

    name: ClassVar[str] = "inverse-gaussian"
    scale: ClassVar[Scale] = Scale.RATE

    def law(self, location: Tensor, log_spread: Tensor) -> InverseGaussian:
        return InverseGaussian(location.exp(), (location - 2 * log_spread).exp())

    def numbers(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        """Log mean and the log of sd over mean."""
        return law.mean.log(), 0.5 * (law.variance / law.mean**2).log()


def default_posterior(prior: PopularityDistribution) -> PosteriorFamily:
    """Normal for a log-scale prior, LogNormal and Weibull for their like, else Gamma."""
    if prior.scale is Scale.LOG:
        return NormalPosterior()
    alike: dict[str, PosteriorFamily] = {"lognormal": LogNormalPosterior(), "weibull": WeibullPosterior()}
    return alike.get(prior.name, GammaPosterior())
