"""A deterministic rule for a law of popularity: E f(z) as a weighted sum over nodes.

The trapezoid rule in log z (in zeta itself for a Normal), as fine as the law asks for: 20 to 80 nodes for Gamma and
Weibull shapes and sds near one, a few hundred for shapes of .05 or sds of 10. Relative error about 1e-9 (1e-6 in single
precision), for the sum of the weights too, where Gamma and Weibull shapes are .05 or more, sds 10 or less, scales any,
and f

- has no singularity within pi / 2 of the real axis of log z (of zeta): log sigma, softplus, log(1 - e^-z), exp do not;
- grows no faster than z upwards, and no faster than a power of log z downwards;
- has no feature below e^-22 / rate (Gamma), e^-22 scale (Weibull): below, the nodes grow apart;
- is not so small near the bulk of the law that its tail decides: for that there is `pyrorec.models.integrals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from pyrorec.models.distributions.inverse_gaussian import InverseGaussian
from pyrorec.models.integrals.gamma_nodes import log_density
from pyrorec.models.integrals.grid import (
    NEAR_EDGE,
    bent,
    gamma_high,
    gamma_low,
    gamma_reach,
    gamma_step,
    normal_reach,
    normal_step,
    trapezoid_step,
    uniform,
)
from pyrorec.models.moments import entropy, log_mean_power, mean_log, variance_log
from pyrorec.models.special import HALF_LOG_TWO_PI

DROP = {torch.float64: 23.0, torch.float32: 16.0}
"""The rule leaves out e^-23 of what it integrates, about 1e-10, in double precision, and e^-16 in single, where a sum
is no better than 1e-7 and training wants few nodes."""
BEND = -22.0
STRIP = 0.5 * math.pi


class Rule(NamedTuple):
    """Nodes log z (zeta for a Normal) and the logarithms of their weights, shape (nodes, *batch).

    Nodes carry no gradient; the weights carry that of the law's parameters, so that a weighted sum of f has for
    gradient the quadrature of f times the derivative of the density.
    """

    log_z: Tensor
    log_weight: Tensor


@singledispatch
def double_rule(law: Any, drop: float) -> Rule:
    """The rule in float64 that leaves out e^-drop; `double_rule.register` adds that of another class of laws."""
    raise NotImplementedError(
        f"no quadrature rule for {type(law).__name__}: register one with pyrorec.models.quadrature.double_rule.register"
    )


def rule(law: Any) -> Rule:
    """The rule of a law, in the law's dtype. Raises NotImplementedError for a class without one."""
    dtype = law.mean.dtype
    log_z, log_weight = double_rule(law, DROP[dtype])
    return Rule(log_z.to(dtype), log_weight.to(dtype))


def average(law: Any, f: Callable[[Tensor], Tensor], index: Tensor | None = None) -> Tensor:
    """E f(log z), E f(zeta) for a Normal: f in the law's dtype, its weighted values summed in float64.

    f is called once per node with a tensor of the law's batch shape, and may broadcast it against anything: memory
    stays that of one call. With an `index` (records,) into the law's batch it is called with the nodes of each record's
    law, while the rule is worked out once a law.
    """
    log_z, log_weight = rule(law)
    dtype = log_z.dtype
    if index is not None:
        log_z, log_weight = log_z[:, index], log_weight[:, index]
    first, *rest = zip(log_z, log_weight.exp(), strict=True)
    total = (first[1] * f(first[0])).double()
    for node, weight in rest:
        total = total + weight * f(node)
    return total.to(dtype)


@double_rule.register(dist.Gamma)
def _(law: dist.Gamma, drop: float) -> Rule:
    return _gamma_rule(law.concentration.double(), law.rate.double(), drop)


@double_rule.register(dist.Exponential)
def _(law: dist.Exponential, drop: float) -> Rule:
    """A Gamma of shape one."""
    rate = law.rate.double()
    return _gamma_rule(torch.ones_like(rate), rate, drop)


@double_rule.register(dist.Weibull)
def _(law: dist.Weibull, drop: float) -> Rule:
    """In s = log(z / scale): (z / scale)^k is exponential, and s has density k e^(k s - e^(k s))."""
    shape, scale = law.concentration.double(), law.scale.double()
    with torch.no_grad():
        one = torch.ones_like(shape)
        reach = torch.minimum(NEAR_EDGE * STRIP * one, gamma_reach(one, drop) / shape)
        step = trapezoid_step(reach, -torch.log(torch.cos(shape * reach)), drop)
        high = gamma_high(1 + 1 / shape, drop) / shape
        grid = bent(-(drop + 3) / shape, high, step, BEND * one)
        node = grid.node + scale.log()
    power = shape * (node - scale.log())
    return Rule(node, shape.log() + power - power.exp() + grid.log_step)


@double_rule.register(dist.Normal)
def _(law: dist.Normal, drop: float) -> Rule:
    return _normal_rule(law.loc.double(), law.scale.double(), drop)


@double_rule.register(dist.LogNormal)
def _(law: dist.LogNormal, drop: float) -> Rule:
    return _normal_rule(law.loc.double(), law.scale.double(), drop)


def _gamma_rule(shape: Tensor, rate: Tensor, drop: float) -> Rule:
    """In t = log(rate z), whose density does not depend on the rate."""
    with torch.no_grad():
        step = gamma_step(shape, gamma_reach(shape, drop), drop)
        grid = bent(gamma_low(shape, drop + 3), gamma_high(shape + 1, drop), step, torch.full_like(shape, BEND))
        node = grid.node - rate.log()
    return Rule(node, log_density(shape, node + rate.log()) + grid.log_step)


def _normal_rule(mean: Tensor, sd: Tensor, drop: float) -> Rule:
    """In e = (x - mean) / sd, up to where e^x has its bulk: sd further than the density's own."""
    with torch.no_grad():
        width = math.sqrt(2 * drop)
        step = normal_step(normal_reach(STRIP / sd, drop=drop), drop)
        grid = uniform(torch.full_like(sd, -width), width + sd, step)
        node = mean + sd * grid.node
    e = (node - mean) / sd
    return Rule(node, grid.log_step - 0.5 * e**2 - HALF_LOG_TWO_PI - sd.log() + sd.detach().log())


@double_rule.register(InverseGaussian)
def _(law: InverseGaussian, drop: float) -> Rule:
    """In t = log(z / m), whose log density is -t / 2 - (shape / m) (cosh t - 1) but for a constant."""
    mean, peak = law.loc.double(), (law.concentration / law.loc).double()
    with torch.no_grad():
        smooth = torch.full_like(peak, 2 * math.pi * NEAR_EDGE * STRIP / drop)
        step = torch.minimum(smooth, math.pi * (2 / (drop * peak)).sqrt())
        reach = torch.acosh(1 + (drop + 3) / peak)
        reach = torch.acosh(1 + (drop + 3 + 4.5 * reach) / peak)  # e^(-t / 2) and an f like z^5 reach further
        grid = uniform(-reach, reach, step)
        node = grid.node
    # The density in t at fixed z: gradients of mean and shape go through t = log z - log m.
    t = node + mean.detach().log() - mean.log()
    cosh = 2 * torch.sinh(t / 2) ** 2
    weight = 0.5 * peak.log() - HALF_LOG_TWO_PI - 0.5 * t - peak * cosh + grid.log_step
    return Rule(node + mean.detach().log(), weight)


@variance_log.register(InverseGaussian)
def _(law: InverseGaussian) -> Tensor:
    """By the law's rule, about E log z."""
    centre = mean_log(law)
    return average(law, lambda log_z: (log_z - centre).square())


def mean_ratio_power(law: Any, weibull: dist.Weibull) -> Tensor:
    """E (z / scale)^k of a law, scale and shape k a Weibull's: in closed form, for an InverseGaussian by its rule
    (k up to 5)."""
    k, log_scale = weibull.concentration, weibull.scale.log()
    if isinstance(law, InverseGaussian):
        return average(law, lambda log_z: torch.exp(k * (log_z - log_scale)))
    return torch.exp(log_mean_power(law, k) - k * log_scale)


@register_kl(InverseGaussian, dist.Weibull)
def _(q: InverseGaussian, p: dist.Weibull) -> Tensor:
    """By the moments that log p needs (maths 4.1): E log z in closed form, E z^k by the law's rule, error about 1e-9
    for shapes k up to 5."""
    k, log_scale = p.concentration, p.scale.log()
    return mean_ratio_power(q, p) - k.log() + k * log_scale - (k - 1) * mean_log(q) - entropy(q)


@register_kl(InverseGaussian, dist.LogNormal)
def _(q: InverseGaussian, p: dist.LogNormal) -> Tensor:
    """By the moments of log z (maths 4.1): E log z in closed form, its variance by the law's rule, error about 1e-9."""
    expected = mean_log(q)
    spread = variance_log(q) + (expected - p.loc).square()
    return expected + p.scale.log() + HALF_LOG_TWO_PI + spread / (2 * p.scale.square()) - entropy(q)
