"""Logistic and probit responses averaged over a normal law: L, its logarithm, its square, and SP (maths 4.4).

mean, sd > 0: tensors or numbers that broadcast; X ~ N(mean, sd). All compute in float64 and return the dtype of
their arguments. But for `logistic_normal`, relative error below 1e-12 for sd in 1e-4..10 and |mean| <= 60.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.integrals import probability
from pyrorec.models.integrals.grid import DROP, uniform
from pyrorec.models.integrals.normal_nodes import LOGISTIC, WIDTH, nodes, rising_centre, weighted
from pyrorec.models.integrals.probability import LogProbability
from pyrorec.models.special import in_double

EPS_LIMIT = 8.5
EPS_NODES = 69
LOGISTIC_LIMIT = 37.0
LOGISTIC_NODES = 149


def normal_average(f: Callable[[Tensor], Tensor], mean: Tensor, sd: Tensor) -> Tensor:
    """E f(mean + sd e), e ~ N(0, 1), by the 69-node trapezoid rule on [-8.5, 8.5] (maths 4.4).

    Node by node, so that memory stays that of the mean: made for whole matrices of scores.
    """
    eps, weight = _eps_rule()
    total = torch.zeros_like(mean)
    for e, w in zip(eps, weight, strict=True):
        total = total + w * f(mean + sd * e)
    return total


@lru_cache
def _eps_rule() -> tuple[list[float], list[float]]:
    eps = torch.linspace(-EPS_LIMIT, EPS_LIMIT, EPS_NODES, dtype=torch.float64)
    weight = torch.exp(-0.5 * eps**2)
    return eps.tolist(), (weight / weight.sum()).tolist()


@lru_cache
def _logistic_rule() -> tuple[list[float], list[float]]:
    x = torch.linspace(-LOGISTIC_LIMIT, LOGISTIC_LIMIT, LOGISTIC_NODES, dtype=torch.float64)
    weight = torch.sigmoid(x) * torch.sigmoid(-x)
    return x.tolist(), (weight / weight.sum()).tolist()


@in_double
def logistic_normal(mean: Tensor, sd: Tensor) -> Tensor:
    """L(mean, sd) = E sigma(X); absolute error below 1e-14 (maths 4.4), node by node as `normal_average`.

    For sd < 1.5 a trapezoid in e; beyond, sigma(y) = P(logistic > -y) turns it into a trapezoid over the
    logistic density of Phi((mean + x) / sd).
    """
    mean, sd = torch.broadcast_tensors(mean, sd)
    narrow = sd < 1.5
    if bool(narrow.all()):
        return normal_average(torch.sigmoid, mean, sd)
    wide_sd = torch.where(narrow, torch.ones_like(sd), sd)
    wide = torch.zeros_like(mean)
    for x, w in zip(*_logistic_rule(), strict=True):
        wide = wide + w * 0.5 * torch.erfc(-(mean + x) / (wide_sd * math.sqrt(2.0)))
    if not bool(narrow.any()):
        return wide
    return torch.where(narrow, normal_average(torch.sigmoid, mean, torch.where(narrow, sd, torch.ones_like(sd))), wide)


@probability.in_double
def logistic_normal_probability(mean: Tensor, sd: Tensor) -> LogProbability:
    """log L(mean, sd) and log(1 - L), to full relative accuracy however rare the event (maths 4.4).

    Of L(-|mean|, sd) by the trapezoid rule in e; 1 - L(mean, sd) = L(-mean, sd).
    """
    above = mean > 0
    below = torch.where(above, -mean, mean)
    rule = nodes(below, sd, rising_centre(below, sd), math.pi, LOGISTIC)
    return LogProbability.from_smaller(rule.log_mean(F.logsigmoid(rule.x)), above)


def log_logistic_normal(mean: Tensor, sd: Tensor) -> Tensor:
    """log L(mean, sd); log(1 - L) is log_logistic_normal(-mean, sd)."""
    return logistic_normal_probability(mean, sd).log


@in_double
def logistic_normal_square(mean: Tensor, sd: Tensor) -> Tensor:
    """E sigma(X)^2, for the variance of a score (maths 7.4)."""
    rule = nodes(mean, sd, rising_centre(mean, sd, power=2.0), math.pi, LOGISTIC)
    return rule.mean(torch.sigmoid(rule.x) ** 2)


@in_double
def softplus_normal(mean: Tensor, sd: Tensor) -> Tensor:
    """SP(mean, sd) = E softplus(X) (maths 4.4): by SP(-|mean|, sd), as SP(mean, sd) - SP(-mean, sd) = mean."""
    above = mean > 0
    below = torch.where(above, -mean, mean)
    rule = nodes(below, sd, rising_centre(below, sd), math.pi, LOGISTIC)
    value = rule.mean(-F.logsigmoid(-rule.x))
    return value + torch.where(above, mean, torch.zeros_like(mean))


def log_sigmoid_normal(mean: Tensor | float, sd: Tensor | float) -> Tensor:
    """E log sigma(X) = -SP(-mean, sd) (maths 5)."""
    return -softplus_normal(-mean, sd)


@probability.in_double
def probit_normal(mean: Tensor, sd: Tensor) -> LogProbability:
    """E Phi(X) = Phi(mean / sqrt(1 + sd^2)), exact (maths 4.3)."""
    x = mean / torch.sqrt(1 + sd**2)
    return LogProbability(torch.special.log_ndtr(x), torch.special.log_ndtr(-x))


@in_double
def probit_normal_square(mean: Tensor, sd: Tensor) -> Tensor:
    """E Phi(X)^2 by the trapezoid rule about the peak of the integrand (maths 7.4).

    Phi^2 has no singularity but grows like e^(sd^2 y^2) at e + i y, which sets the step.
    """
    mean, sd = torch.broadcast_tensors(mean, sd)
    with torch.no_grad():
        curvature = 0.5 + sd**2
        centre = -2 * mean.clamp_max(0.0) * sd / (2 * curvature)
        step = math.pi / torch.sqrt(DROP * curvature)
        grid = uniform(centre - WIDTH, centre + WIDTH, step)
    rule = weighted(mean, sd, grid)
    return rule.log_mean(2 * torch.special.log_ndtr(rule.x)).exp()
