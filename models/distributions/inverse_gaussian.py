"""Inverse Gaussian laws as variational families."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all

from pyrorec.models.special import deviance, in_double, phi1_ratio, scaled_expint, stirling_remainder


class InverseGaussian(TorchDistribution):
    """z > 0 with mean m = `loc` and shape t = `concentration`: variance m^3 / t (maths 0).

    Draws carry no gradient; every KL here is closed, so that an objective without draws of z trains it.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.positive,
        "concentration": constraints.positive,
    }
    support = constraints.positive
    has_rsample = False

    def __init__(self, loc: Tensor | float, concentration: Tensor | float, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> InverseGaussian:
        new = self._get_checked_instance(InverseGaussian, _instance)
        new.loc = self.loc.expand(batch_shape)
        new.concentration = self.concentration.expand(batch_shape)
        super(InverseGaussian, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.loc**3 / self.concentration

    def log_prob(self, value: Tensor) -> Tensor:
        """log(t / (2 pi z^3)) / 2 - t (z - m)^2 / (2 m^2 z)."""
        if self._validate_args:
            self._validate_sample(value)
        m, t = self.loc, self.concentration
        distance = (value - m) / m
        return 0.5 * (t.log() - math.log(2 * math.pi) - 3 * value.log() - t / value * distance**2)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By Michael, Schucany and Haas: the smaller root of a chi-square equation, or its mirror m^2 / root."""
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            m, t = self.loc.expand(shape), self.concentration.expand(shape)
            w = m / t * torch.randn_like(m) ** 2
            # the two roots multiply to one: the smaller by division, where their difference would cancel
            larger = 1 + 0.5 * w + 0.5 * torch.sqrt(w * (4 + w))
            mirrored = torch.rand_like(m) * (1 + 1 / larger) > 1
            return m * torch.where(mirrored, larger, 1 / larger)


@in_double
def mean_log_inverse_gaussian(m: Tensor, t: Tensor) -> Tensor:
    """E log z = log m - e^x E1(x), x = 2 t / m (maths 4.1)."""
    return m.log() - scaled_expint(2 * t / m)


@in_double
def inverse_gaussian_to_inverse_gaussian(m: Tensor, t: Tensor, m0: Tensor, t0: Tensor) -> Tensor:
    """KL(InverseGaussian(m, t) || InverseGaussian(m0, t0)) (maths 4.2)."""
    return 0.5 * phi1_ratio(t0, t) + 0.5 * t0 * ((m - m0) / m0) ** 2 / m


@in_double
def inverse_gaussian_to_gamma(m: Tensor, t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """KL(InverseGaussian(m, t) || Gamma(a, b)), rate b, through E z and E log z (maths 4.1).

    The log density of z itself has expectation log(t / (2 pi e)) / 2 - (3/2) E log z.
    """
    gap = scaled_expint(2 * t / m)
    return deviance(a, b * m) + stirling_remainder(a) - 0.5 * torch.log(a * m / t) - 0.5 + (a + 0.5) * gap


@register_kl(InverseGaussian, InverseGaussian)
def _(q: InverseGaussian, p: InverseGaussian) -> Tensor:
    return inverse_gaussian_to_inverse_gaussian(q.loc, q.concentration, p.loc, p.concentration)


@register_kl(InverseGaussian, dist.Gamma)
def _(q: InverseGaussian, p: dist.Gamma) -> Tensor:
    return inverse_gaussian_to_gamma(q.loc, q.concentration, p.concentration, p.rate)


@register_kl(InverseGaussian, dist.Exponential)
def _(q: InverseGaussian, p: dist.Exponential) -> Tensor:
    """The Exponential as Gamma(1, rate)."""
    return inverse_gaussian_to_gamma(q.loc, q.concentration, torch.ones_like(p.rate), p.rate)
