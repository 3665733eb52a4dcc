"""Probabilities of a click with Gamma popularity integrated out (maths 4.3).

z ~ Gamma(shape, rate): shape 1e-3..1e5, any rate; tensors or numbers that broadcast. All compute in float64 and
return the dtype of their arguments; log P and log(1 - P) have relative error below 1e-11 in P and 1 - P.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.integrals.gamma_nodes import MARGIN, between
from pyrorec.models.integrals.grid import DROP, bent, gamma_high, gamma_low, gamma_reach, gamma_step, logistic_pole
from pyrorec.models.integrals.probability import LogProbability, in_double
from pyrorec.models.integrals.saturation import softplus


@in_double
def saturation(shape: Tensor, rate: Tensor, lam: Tensor) -> LogProbability:
    """E [1 - e^(-lam z)]: log(1 - G) = -shape log(1 + lam / rate)."""
    return LogProbability.from_log(-shape * torch.log1p(lam / rate)).complement


@in_double
def cloglog(eta: Tensor, shape: Tensor, rate: Tensor) -> LogProbability:
    """E [1 - exp(-z e^eta)]: log(1 - G) = -shape softplus(eta - log rate)."""
    return LogProbability.from_log(-shape * softplus(eta - rate.log())).complement


@in_double
def ratio(shape: Tensor, rate: Tensor, half: Tensor) -> LogProbability:
    """E [z / (z + half)], half > 0 (maths 4.3, integral (i))."""
    return _ratio(shape, rate.log() + half.log())


@in_double
def odds(eta: Tensor, shape: Tensor, rate: Tensor) -> LogProbability:
    """E [1 / (1 + e^-eta / z)], the odds z e^eta: the ratio with half = e^-eta."""
    return _ratio(shape, rate.log() - eta)


def _ratio(shape: Tensor, log_x: Tensor) -> LogProbability:
    """E [z / (z + C)], log_x = log(rate C), by integral (i) on nodes shared by the whole batch.

    1 - G = E (1 + T / x)^-shape, T ~ Exp(1): under t = log T two sums of positive terms, one for G, one for 1 - G.
    """
    shape, log_x = torch.broadcast_tensors(shape, log_x)
    t, log_step = _exponential_rule(shape, log_x)
    survival = -shape * softplus(t - log_x)
    weight = torch.exp(t - torch.exp(t) + log_step)
    gone = (weight * -torch.expm1(survival)).sum(0)
    left = (weight * torch.exp(survival)).sum(0)
    few = gone < 0.5
    log, log1m = gone.log(), left.log()
    return LogProbability(
        torch.where(few, log, torch.log1p(-torch.where(few, torch.zeros_like(left), left))),
        torch.where(few, torch.log1p(-torch.where(few, gone, torch.zeros_like(gone))), log1m),
    )


@torch.no_grad()
def _exponential_rule(shape: Tensor, log_x: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and log steps under T ~ Exp(1) down to where the smallest feature, x or x / shape, no longer matters."""
    one = torch.ones((), dtype=shape.dtype, device=shape.device)
    lowest = (log_x - shape.log().clamp_min(0.0)).clamp_max(0.0)
    lowest = lowest.min() if lowest.numel() else 0 * one
    grid = bent(lowest - DROP, gamma_high(one), gamma_step(one, gamma_reach(one)), lowest - MARGIN)
    column = (-1, *[1] * shape.dim())
    return grid.node.reshape(column), grid.log_step.reshape(column)


@in_double
def logistic(eta: Tensor, effect: Tensor, shape: Tensor, rate: Tensor) -> LogProbability:
    """E sigma(eta + effect z), effect of either sign (maths 4.3, rule (iii)).

    A negative effect is the complement with both signs changed. What is integrated is the smaller of S and 1 - S,
    the latter under the law tilted by e^(-effect z), where 1 - sigma(x) = e^-x sigma(x) is again a sigma.
    """
    eta, effect, shape, rate = torch.broadcast_tensors(eta, effect, shape, rate)
    down = effect < 0
    eta, c = torch.where(down, -eta, eta), torch.where(down, -effect, effect) / rate
    high = eta + c * shape > 0
    slope = torch.where(high, c / (1 + c), c)
    log_mean = _log_mean_sigmoid(eta, slope, shape)
    log = torch.where(high, log_mean - eta - shape * torch.log1p(c), log_mean)
    return LogProbability.from_smaller(log, high != down)


def _log_mean_sigmoid(eta: Tensor, slope: Tensor, shape: Tensor) -> Tensor:
    """log E sigma(eta + slope y), y ~ Gamma(shape, 1); for eta < 0 sigma has its pole near slope y = -eta."""
    with torch.no_grad():
        log_slope = slope.clamp_min(1e-300).log()
        at, depth = logistic_pole(-eta)
        low, high = gamma_low(shape), gamma_high(shape + 1, DROP + (-eta).clamp_min(0.0))
        lowest = (-log_slope).clamp_max(0.0)
    rule = between(shape, low, high, lowest, (at - log_slope, depth))
    return rule.log_mean(F.logsigmoid(eta + slope * rule.t.exp()))
