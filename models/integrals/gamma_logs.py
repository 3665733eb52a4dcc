"""Expected log-likelihood terms of the product model under Gamma popularity (maths 5).

z ~ Gamma(shape, rate): shape 1e-3..1e5, any rate; tensors or numbers that broadcast. h = sigma(eta) is the match.
All compute in float64 and return the dtype of their arguments; relative error below 1e-11, also where the textbook
sum psi(shape) - log rate + ... cancels, because every integrand here has one sign.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyrorec.models.integrals.gamma_nodes import falling, rising
from pyrorec.models.integrals.grid import logistic_pole
from pyrorec.models.integrals.saturation import (
    minus_log_one_minus_match,
    minus_log_one_minus_match_ratio,
    softplus,
    tilted_log_saturation,
)
from pyrorec.models.special import in_double

EULER = 0.5772156649015329
ZETA = torch.special.zeta(torch.arange(2.0, 11.0, dtype=torch.float64), torch.ones(9, dtype=torch.float64)).tolist()
"""zeta(2), ..., zeta(10)."""


@in_double
def log_saturation(shape: Tensor, rate: Tensor, lam: Tensor) -> Tensor:
    """E log(1 - e^(-lam z)).

    Under the law tilted by e^(-lam z) the integrand becomes -e^x log(1 - e^-x), which tends to one at large x: a
    large shape, whose value is near (1 + lam / rate)^-shape, is as accurate as a small one.
    """
    shape, rate, lam = torch.broadcast_tensors(shape, rate, lam)
    log_slope = lam.log() - torch.log(lam + rate)
    rule = falling(shape, torch.zeros_like(shape))
    return -torch.exp(-shape * torch.log1p(lam / rate)) * rule.mean(tilted_log_saturation(rule.t + log_slope))


@in_double
def log_saturation_exponential(rate: Tensor, lam: Tensor) -> Tensor:
    """E log(1 - e^(-lam z)), z exponential: -(psi(1 + c) + gE), c = rate / lam; below c = .02 by its series."""
    c = rate / lam
    near = c < 0.02
    small = torch.where(near, c, torch.zeros_like(c))
    series = torch.zeros_like(c)
    for zeta in reversed(ZETA):
        series = zeta - series * small
    direct = torch.digamma(1 + torch.where(near, torch.ones_like(c), c)) + EULER
    return -torch.where(near, series * small, direct)


@in_double
def log_one_minus_match_saturation(eta: Tensor, shape: Tensor, rate: Tensor, lam: Tensor) -> Tensor:
    """E log(1 - h (1 - e^(-lam z))); for eta > 0 the nodes draw together about lam z = eta, near a singularity."""
    eta, shape, rate, lam = torch.broadcast_tensors(eta, shape, rate, lam)
    log_slope = lam.log() - rate.log()
    at, depth = logistic_pole(eta)
    rule = rising(shape, -log_slope.detach(), (at - log_slope.detach(), depth))
    return -rule.mean(minus_log_one_minus_match(eta, torch.exp(rule.t + log_slope)))


@in_double
def log_ratio(shape: Tensor, rate: Tensor, half: Tensor) -> Tensor:
    """E log(z / (z + half))."""
    shape, log_x = torch.broadcast_tensors(shape, rate.log() + half.log())
    rule = falling(shape, log_x.detach(), power=1.0)
    return -rule.mean(softplus(log_x - rule.t))


@in_double
def log1p_over(shape: Tensor, rate: Tensor, half: Tensor) -> Tensor:
    """J = E log(1 + z / half)."""
    shape, log_x = torch.broadcast_tensors(shape, rate.log() + half.log())
    rule = rising(shape, log_x.detach())
    return rule.mean(softplus(rule.t - log_x))


@in_double
def log_one_minus_match_ratio(eta: Tensor, shape: Tensor, rate: Tensor, half: Tensor) -> Tensor:
    """E log(1 - h z / (z + half)) = J(half / (1 - h)) - J(half), under one integral sign."""
    eta, shape, log_x = torch.broadcast_tensors(eta, shape, rate.log() + half.log())
    rule = rising(shape, log_x.detach())
    return -rule.mean(minus_log_one_minus_match_ratio(eta, rule.t - log_x))
