"""Moments of the laws of popularity on the rate scale, each by its closed form (maths 4.1).

Functions dispatch on the class of the law; `register` one of another class to add to them. All compute in float64
and return the law's dtype, batch shape broadcast with that of other arguments.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any, NoReturn

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.inverse_gaussian import InverseGaussian, mean_log_inverse_gaussian
from pyrorec.models.distributions.weibull import EULER
from pyrorec.models.special import (
    HALF_LOG_TWO_PI,
    digamma_remainder,
    in_double,
    lgamma_difference,
    stirling_remainder,
    trigamma,
)


def _refuse(what: str, law: Any) -> NoReturn:
    raise NotImplementedError(
        f"{what} of {type(law).__name__} has no closed form here: register one with the function's `register`"
    )


def mean_power(law: Any, power: Tensor | float) -> Tensor:
    """E z^power; +inf where it does not exist."""
    return log_mean_power(law, power).exp()


@singledispatch
def log_mean_power(law: Any, power: Tensor | float) -> Tensor:
    """log E z^power; +inf where the expectation does not exist."""
    _refuse("E z^r", law)


@singledispatch
def mean_log(law: Any) -> Tensor:
    """E log z."""
    _refuse("E log z", law)


@singledispatch
def variance_log(law: Any) -> Tensor:
    """Var log z."""
    _refuse("Var log z", law)


@singledispatch
def entropy(law: Any) -> Tensor:
    """-E log q(z), in nats."""
    _refuse("the entropy", law)


def lognormal_match(law: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of log z under the lognormal with the law's own mean and variance of z."""
    spread = torch.log1p(law.variance / law.mean**2)
    return law.mean.log() - 0.5 * spread, spread


@log_mean_power.register(dist.Gamma)
def _(law: dist.Gamma, power: Tensor | float) -> Tensor:
    """log Gamma(a + r) - log Gamma(a) - r log b, for r > -a."""
    return gamma_log_mean_power(law.concentration, law.rate, power)


@in_double
def gamma_log_mean_power(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """log E z^r of Gamma(a, b), rate b; +inf for r <= -a."""
    a, r = torch.broadcast_tensors(a, r)
    exists = a + r > 0
    value = lgamma_difference(a, torch.where(exists, r, torch.zeros_like(r))) - r * b.log()
    return torch.where(exists, value, torch.full_like(value, math.inf))


@log_mean_power.register(dist.Exponential)
def _(law: dist.Exponential, power: Tensor | float) -> Tensor:
    """That of Gamma(1, rate)."""
    return gamma_log_mean_power(torch.ones_like(law.rate), law.rate, power)


@log_mean_power.register(dist.LogNormal)
def _(law: dist.LogNormal, power: Tensor | float) -> Tensor:
    """r mu + r^2 s^2 / 2."""
    return in_double(lambda mu, s, r: r * mu + 0.5 * (r * s) ** 2)(law.loc, law.scale, power)


@log_mean_power.register(dist.Weibull)
def _(law: dist.Weibull, power: Tensor | float) -> Tensor:
    """That of the r / k-th power of a standard exponential, times scale^r; for r > -k."""
    return in_double(lambda k, scale, r: r * scale.log() + gamma_log_mean_power(torch.ones_like(k), 1.0, r / k))(
        law.concentration, law.scale, power
    )


@log_mean_power.register(InverseGaussian)
def _(law: InverseGaussian, power: Tensor | float) -> Tensor:
    """r = -1, 0, 1, 2 only: 1 / m + 1 / t, 1, m, m^2 + m^3 / t."""
    moments = {
        -1.0: lambda m, t: torch.log(1 / m + 1 / t),
        0.0: lambda m, t: torch.zeros_like(m + t),
        1.0: lambda m, t: m.log() + 0 * t,
        2.0: lambda m, t: 2 * m.log() + torch.log1p(m / t),
    }
    if not isinstance(power, int | float) or float(power) not in moments:
        _refuse(f"E z^{power}", law)
    return in_double(moments[float(power)])(law.loc, law.concentration)


@log_mean_power.register(dist.Delta)
def _(law: dist.Delta, power: Tensor | float) -> Tensor:
    return in_double(lambda v, r: r * v.log())(law.v, power)


@mean_log.register(dist.Gamma)
def _(law: dist.Gamma) -> Tensor:
    """psi(a) - log b."""
    return in_double(lambda a, b: torch.digamma(a) - b.log())(law.concentration, law.rate)


@mean_log.register(dist.Exponential)
def _(law: dist.Exponential) -> Tensor:
    return -EULER - law.rate.log()


@mean_log.register(dist.LogNormal)
def _(law: dist.LogNormal) -> Tensor:
    return law.loc


@mean_log.register(dist.Weibull)
def _(law: dist.Weibull) -> Tensor:
    """log scale - gE / k."""
    return in_double(lambda k, scale: scale.log() - EULER / k)(law.concentration, law.scale)


@mean_log.register(InverseGaussian)
def _(law: InverseGaussian) -> Tensor:
    return mean_log_inverse_gaussian(law.loc, law.concentration)


@mean_log.register(dist.Delta)
def _(law: dist.Delta) -> Tensor:
    return law.v.log()


@variance_log.register(dist.Gamma)
def _(law: dist.Gamma) -> Tensor:
    return trigamma(law.concentration)


@variance_log.register(dist.Exponential)
def _(law: dist.Exponential) -> Tensor:
    return torch.full_like(law.rate, math.pi**2 / 6)


@variance_log.register(dist.LogNormal)
def _(law: dist.LogNormal) -> Tensor:
    return law.scale**2


@variance_log.register(dist.Weibull)
def _(law: dist.Weibull) -> Tensor:
    """pi^2 / (6 k^2)."""
    return (math.pi**2 / 6) / law.concentration**2


@variance_log.register(dist.Delta)
def _(law: dist.Delta) -> Tensor:
    return torch.zeros_like(law.v)


@entropy.register(dist.Gamma)
def _(law: dist.Gamma) -> Tensor:
    """E log z plus the entropy of log z, by Stirling's remainders: no a log a is left to cancel."""
    return _gamma_entropy(law.concentration, law.rate)


@in_double
def _gamma_entropy(a: Tensor, b: Tensor) -> Tensor:
    of_log = HALF_LOG_TWO_PI + 0.5 - 0.5 * a.log() - a * digamma_remainder(a) + stirling_remainder(a)
    return torch.digamma(a) - b.log() + of_log


@entropy.register(dist.Exponential)
def _(law: dist.Exponential) -> Tensor:
    return 1 - law.rate.log()


@entropy.register(dist.LogNormal)
def _(law: dist.LogNormal) -> Tensor:
    """mu + log s + log(2 pi e) / 2."""
    return in_double(lambda mu, s: mu + s.log() + HALF_LOG_TWO_PI + 0.5)(law.loc, law.scale)


@entropy.register(dist.Weibull)
def _(law: dist.Weibull) -> Tensor:
    """gE (1 - 1 / k) + log(scale / k) + 1."""
    return in_double(lambda k, scale: EULER * (1 - 1 / k) + torch.log(scale / k) + 1)(law.concentration, law.scale)


@entropy.register(InverseGaussian)
def _(law: InverseGaussian) -> Tensor:
    """log(2 pi e / t) / 2 + (3/2) E log z."""
    return in_double(lambda m, t: HALF_LOG_TWO_PI + 0.5 - 0.5 * t.log() + 1.5 * mean_log_inverse_gaussian(m, t))(
        law.loc, law.concentration
    )
