"""Clicks and expected log-likelihood terms under lognormal popularity (maths 4.3, 5).

log z ~ N(mean, sd), sd 1e-4..10; tensors or numbers that broadcast. h = sigma(eta) is the match. All compute in
float64 and return the dtype of their arguments; relative error below 1e-11.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrorec.models.integrals import normal, probability
from pyrorec.models.integrals.grid import DROP, logistic_pole, normal_reach
from pyrorec.models.integrals.normal_nodes import LOGISTIC, WIDTH, about, nodes, rising_centre, weighted
from pyrorec.models.integrals.probability import LogProbability
from pyrorec.models.integrals.relaxed import Window, relaxed
from pyrorec.models.integrals.saturation import (
    log_saturated,
    minus_log_one_minus_match,
    minus_log_one_minus_match_ratio,
    softplus,
    tilted_log_saturation,
)
from pyrorec.models.special import in_double

STRIP = 0.5 * math.pi
"""exp(-e^x) stays bounded for |Im x| below this."""
ENDS = (-8.0, 14.0)
"""Beyond these x what is made of exp(-e^x) is linear or exponential in x, or exp(-e^x) is nothing."""


@probability.in_double
def ratio(mean: Tensor, sd: Tensor, half: Tensor) -> LogProbability:
    """E [z / (z + half)] = L(mean - log half, sd)."""
    return normal.logistic_normal_probability(mean - half.log(), sd)


@probability.in_double
def odds(eta: Tensor, mean: Tensor, sd: Tensor) -> LogProbability:
    """E [1 / (1 + e^-eta / z)] = L(eta + mean, sd)."""
    return normal.logistic_normal_probability(eta + mean, sd)


@in_double
def log_ratio(mean: Tensor, sd: Tensor, half: Tensor) -> Tensor:
    """E log(z / (z + half)) = -SP(log half - mean, sd)."""
    return normal.log_sigmoid_normal(mean - half.log(), sd)


@probability.in_double
def saturation(mean: Tensor, sd: Tensor, lam: Tensor) -> LogProbability:
    """E [1 - e^(-lam z)]: G where lam e^mean < 1, else 1 - G, by nodes about the peak of its integrand."""
    mean, sd = torch.broadcast_tensors(mean + lam.log(), sd)
    above = mean > 0
    windows = zip(falling(mean, sd), about(rising_centre(mean, sd), sd, STRIP), strict=True)
    window = Window(*(torch.where(above, a, b) for a, b in windows))
    rule = weighted(mean, sd, relaxed(window, mean, sd, ENDS))
    return LogProbability.from_smaller(
        rule.log_mean(torch.where(above, -torch.exp(rule.x), log_saturated(rule.x))), above
    )


@in_double
def log_saturation(mean: Tensor, sd: Tensor, lam: Tensor) -> Tensor:
    """E log(1 - e^(-lam z)), also where it is no more than E exp(-lam z)."""
    mean, sd = torch.broadcast_tensors(mean + lam.log(), sd)
    rule = weighted(mean, sd, relaxed(falling(mean, sd), mean, sd, ENDS))
    return -rule.log_mean(torch.log(tilted_log_saturation(rule.x)) - torch.exp(rule.x)).exp()


@in_double
def log_one_minus_match_saturation(eta: Tensor, mean: Tensor, sd: Tensor, lam: Tensor) -> Tensor:
    """E log(1 - h (1 - e^(-lam z))); for eta > 0 the nodes draw together about lam z = eta, near a singularity."""
    eta, mean, sd = torch.broadcast_tensors(eta, mean + lam.log(), sd)
    pole = logistic_pole(eta)
    centre = rising_centre(mean - eta.clamp_min(1.0).log(), sd)
    rule = nodes(mean, sd, centre, STRIP, ENDS, pole)
    return -rule.mean(minus_log_one_minus_match(eta, torch.exp(rule.x)))


@in_double
def log_one_minus_match_ratio(eta: Tensor, mean: Tensor, sd: Tensor, half: Tensor) -> Tensor:
    """E log(1 - h z / (z + half)): the difference of two SP under one integral sign."""
    eta, mean, sd = torch.broadcast_tensors(eta, mean - half.log(), sd)
    rule = nodes(mean, sd, rising_centre(mean, sd), math.pi, (LOGISTIC[0], LOGISTIC[1] + softplus(eta)))
    return -rule.mean(minus_log_one_minus_match_ratio(eta, rule.x))


@torch.no_grad()
def falling(mean: Tensor, sd: Tensor) -> Window:
    """The window for an integrand like exp(-e^x), x = mean + sd e, at any mean.

    Its product with the density peaks at e = -w / sd, w e^w = sd^2 e^mean, with curvature 1 + w; the left end is
    where it has fallen by e^-DROP, found by Newton from outside. Along e + i y it is as large as with e^mean
    cos(sd y) for e^mean on the axis, where it peaks `ahead`.
    """
    w = _lambert(2 * sd.log() + mean)
    drop, per = DROP + 4, w / sd**2
    left = torch.full_like(w, math.sqrt(2 * drop))
    for _ in range(5):
        excess = 0.5 * left**2 + per * (torch.expm1(-sd * left) + sd * left) - drop
        left = left - excess / (left - per * sd * torch.expm1(-sd * left))
    peak = mean - w
    gone = torch.log(peak.exp() + drop + 0.5 * w * per)  # the density gains at most (w / sd)^2 / 2 on the way up
    right = torch.minimum(WIDTH / torch.sqrt(1 + w), (gone - peak) / sd)
    reach = normal_reach(0.8 * STRIP / sd, 1 + w)
    ahead = _lambert(2 * sd.log() + mean + torch.log(torch.cos(sd * reach)))
    growth = 0.5 * (w - ahead) * (w + ahead + 2) / sd**2 + 0.5 * reach**2
    return Window(-w / sd - left, -w / sd + right, reach, growth)


def _lambert(q: Tensor) -> Tensor:
    """w with log w + w = q, by Newton on log w from above the root."""
    u = torch.where(q < 1, q, q.clamp_min(1.0).log())
    for _ in range(6):
        w = u.exp()
        u = u - (w + u - q) / (w + 1)
    return u.exp()
