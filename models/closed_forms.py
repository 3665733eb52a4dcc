"""Marginal and expected log-likelihoods that need neither draws nor quadrature.

Plain functions of tensors that broadcast. `eta` is the linear predictor without popularity, `effect` the weight of
popularity in it, sds are sds and the second parameter of a Gamma is a rate. Expected log-likelihoods leave out
-log k!. All compute in float64 and return the dtype of their arguments.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrorec.models.moments import gamma_log_mean_power
from pyrorec.models.special import (
    HALF_LOG_TWO_PI,
    deviance,
    digamma_remainder,
    in_double,
    log1mexp,
    stirling_remainder,
)


@in_double
def negbin_log_prob(count: Tensor, shape: Tensor, rate: Tensor, exposure: Tensor) -> Tensor:
    """log P(k) of k ~ Poisson(exposure z), z ~ Gamma(shape, rate) (maths 3.1).

    By deviances of shape and of k from their shares of shape + k: Stirling's remainders are all that is left of the
    Gamma functions, so that nothing large cancels.
    """
    k = count.clamp_min(1.0)
    total, scale = shape + k, rate + exposure
    distance = deviance(shape, total * (rate / scale)) + deviance(k, total * (exposure / scale))
    remainder = stirling_remainder(total) - stirling_remainder(shape) - stirling_remainder(k)
    positive = 0.5 * (torch.log(shape / total) - k.log()) - HALF_LOG_TWO_PI + remainder - distance
    return torch.where(count > 0, positive, -shape * torch.log1p(exposure / rate))


@in_double
def expected_poisson_normal(count: Tensor, eta: Tensor, effect: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """E [k x - e^x], x = eta + effect zeta, zeta ~ N(mean, sd) (maths 5).

    The same for x = eta + effect log z with z ~ LogNormal(mean, sd).
    """
    return count * (eta + effect * mean) - log_poisson_rate_normal(eta, effect, mean, sd).exp()


@in_double
def expected_poisson_gamma(count: Tensor, eta: Tensor, effect: Tensor, shape: Tensor, rate: Tensor) -> Tensor:
    """E [k x - e^x], x = eta + effect z, z ~ Gamma(shape, rate); -inf for effect >= rate (maths 5)."""
    return count * (eta + effect * shape / rate) - log_poisson_rate_gamma(eta, effect, shape, rate).exp()


@in_double
def expected_poisson_log_gamma(count: Tensor, eta: Tensor, effect: Tensor, shape: Tensor, rate: Tensor) -> Tensor:
    """E [k x - e^x], x = eta + effect log z, z ~ Gamma(shape, rate); -inf for effect <= -shape (maths 5)."""
    mean_log = torch.digamma(shape) - rate.log()
    return count * (eta + effect * mean_log) - torch.exp(eta + gamma_log_mean_power(shape, rate, effect))


@in_double
def log_poisson_rate_normal(eta: Tensor, effect: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """log E exp(eta + effect zeta), zeta ~ N(mean, sd) (maths 4.3)."""
    return eta + effect * mean + 0.5 * (effect * sd) ** 2


@in_double
def log_poisson_rate_gamma(eta: Tensor, effect: Tensor, shape: Tensor, rate: Tensor) -> Tensor:
    """log E exp(eta + effect z), z ~ Gamma(shape, rate); +inf for effect >= rate (maths 4.3)."""
    exists = effect < rate
    value = eta - shape * torch.log1p(-torch.where(exists, effect / rate, torch.zeros_like(effect / rate)))
    return torch.where(exists, value, torch.full_like(value, math.inf))


def _log_click(log_rate: Tensor) -> Tensor:
    """log(1 - exp(-rate)), also where the rate itself underflows."""
    rate = log_rate.exp()
    rare = log_rate < -5.0
    return torch.where(
        rare, log_rate - rate / 2 + rate**2 / 24, log1mexp(torch.where(rare, torch.ones_like(rate), rate))
    )


@in_double
def conjugate_click_bound(eta: Tensor, shape: Tensor, rate: Tensor) -> Tensor:
    """A lower bound of E log(1 - exp(-z e^eta)), z ~ Gamma(shape, rate), that keeps the Gamma conjugate (maths 5).

    log(e^rho - 1) - e^eta shape / rate with log rho = eta + E log z, written as log(1 - e^-rho) less the distance of
    rho from e^eta E z: tight where z is nearly known or clicks are rare, .2 and more nats loose at rho near one.
    """
    log_rho = eta + torch.digamma(shape) - rate.log()
    shortfall = torch.expm1(digamma_remainder(shape) - 0.5 / shape)
    return _log_click(log_rho) + torch.exp(eta) * shape / rate * shortfall


@in_double
def log_mean_exp_dot(mean1: Tensor, sd1: Tensor, mean2: Tensor, sd2: Tensor) -> Tensor:
    """log E exp(x . y), x ~ N(mean1, sd1), y ~ N(mean2, sd2), summed over the last dimension (maths 6.4).

    +inf where some sd1 sd2 >= 1. Without dimensions x and y are single numbers.
    """
    both = sd1 * sd2
    exists = both < 1
    safe = torch.where(exists, both, torch.zeros_like(both))
    left = (1 - safe) * (1 + safe)
    exponent = (mean1 * mean2 + 0.5 * ((mean1 * sd2) ** 2 + (mean2 * sd1) ** 2)) / left
    value = torch.where(exists, exponent - 0.5 * torch.log(left), torch.full_like(exponent, math.inf))
    return value.sum(-1) if value.dim() else value
