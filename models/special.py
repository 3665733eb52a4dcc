"""Special functions without cancellation: differences that a textbook formula would lose to rounding.

Each computes in float64 and returns the dtype of its arguments; gradients flow through and are finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce, wraps
from typing import Any

import torch
from torch import Tensor

LIFT = 8.0
"""Stirling's series is used from here on; smaller arguments are raised by this much through the recurrence."""
NEAR_ONE = 0.1
"""Ratios within this distance of one, and logarithms of zero, take a series of phi1."""
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400, 43867 / 244188)
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def common_dtype(*values: Any) -> torch.dtype:
    """The floating dtype that numbers and tensors together ask for; float64 where none of them is a tensor."""
    dtypes = [v.dtype for v in values if isinstance(v, Tensor)]
    if not dtypes:
        return torch.float64
    dtype = reduce(torch.promote_types, dtypes)
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def in_double(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Makes a function of tensors and numbers compute in float64 and return the dtype of its arguments."""

    @wraps(function)
    def promoted(*values: Any) -> Tensor:
        device = next((v.device for v in values if isinstance(v, Tensor)), None)
        doubles = [torch.as_tensor(v, dtype=torch.float64, device=device) for v in values]
        return function(*doubles).to(common_dtype(*values))

    return promoted


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^-x) for x > 0, accurate at both ends; its gradient stays finite."""
    small = x < 0.6931
    low = torch.where(small, x, torch.ones_like(x))
    high = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, torch.log(-torch.expm1(-low)), torch.log1p(-torch.exp(-high)))


class _Deviance(torch.autograd.Function):
    """x phi1(m / x) in one node of the graph, so that its slopes log(x / m) and 1 - x / m cancel nothing either."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, m: Tensor) -> Tensor:
        d = (m - x) / x
        y = d / (2 + d)  # log(1 + d) = 2 atanh y, and d - 2 y = d y
        y2 = y * y
        tail = 1 / 3 + y2 * (1 / 5 + y2 * (1 / 7 + y2 * (1 / 9 + y2 * (1 / 11 + y2 / 13))))
        return x * torch.where(d.abs() < NEAR_ONE, y * (d - 2 * y2 * tail), d - torch.log(m / x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, m = ctx.saved_tensors
        d = (x - m) / m
        near = d.abs() < 0.5
        slope = torch.where(near, torch.log1p(torch.where(near, d, torch.zeros_like(d))), torch.log(x / m))
        return grads[0] * slope, -grads[0] * d


class _LogDeviance(torch.autograd.Function):
    """x phi1(e^c), c = log m - log x, in one node of the graph, with slopes -c and x (e^c - 1)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, log_m: Tensor) -> Tensor:
        c = log_m - x.log()
        series = reduce(lambda total, k: 1 + total * c / k, range(11, 2, -1), torch.ones_like(c))
        return x * torch.where(c.abs() < NEAR_ONE, 0.5 * c * c * series, torch.expm1(c) - c)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, log_m = ctx.saved_tensors
        c = log_m - x.log()
        return -grads[0] * c, grads[0] * x * torch.expm1(c)


@in_double
def deviance(x: Tensor, mean: Tensor) -> Tensor:
    """x phi1(mean / x) = mean - x - x log(mean / x) >= 0 for positive arguments (maths 0).

    Full relative accuracy also near equality, for the distance of the two is formed first. Broadcasts.
    """
    x, mean = torch.broadcast_tensors(x, mean)
    return _Deviance.apply(x, mean)


@in_double
def log_deviance(x: Tensor, log_mean: Tensor) -> Tensor:
    """`deviance` of a mean given by its logarithm, which may lie beyond the range of floats."""
    x, log_mean = torch.broadcast_tensors(x, log_mean)
    return _LogDeviance.apply(x, log_mean)


@in_double
def phi1_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """phi1(x) = x - 1 - log x at x = numerator / denominator > 0, with full accuracy also near one (maths 0)."""
    return deviance(denominator, numerator) / denominator


def _series(a: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """sum_k c_k a^-2k by Horner's rule."""
    x = 1 / (a * a)
    return reduce(lambda total, c: total * x + c, reversed(coefficients[:-1]), torch.full_like(x, coefficients[-1]))


def stirling_series(a: Tensor) -> Tensor:
    """R(a) by its asymptotic series, for a >= LIFT."""
    return _series(a, STIRLING) / a


def stirling_series_slope(a: Tensor) -> Tensor:
    """P(a) = R'(a) by the derivative of the series, for a >= LIFT."""
    return -_series(a, tuple((2 * k + 1) * c for k, c in enumerate(STIRLING))) / (a * a)


@in_double
def stirling_remainder(a: Tensor) -> Tensor:
    """R(a) = log Gamma(a) - [(a - 1/2) log a - a + log(2 pi) / 2], a > 0 (maths 4.2)."""
    large = a >= LIFT
    low = torch.where(large, torch.ones_like(a), a)
    direct = torch.lgamma(low) - ((low - 0.5) * low.log() - low + HALF_LOG_TWO_PI)
    return torch.where(large, stirling_series(a.clamp_min(LIFT)), direct)


@in_double
def digamma_remainder(a: Tensor) -> Tensor:
    """P(a) = psi(a) - log a + 1 / (2 a), a > 0: the derivative of `stirling_remainder` (maths 4.2)."""
    large = a >= LIFT
    low = torch.where(large, torch.ones_like(a), a)
    direct = torch.digamma(low) - low.log() + 0.5 / low
    return torch.where(large, stirling_series_slope(a.clamp_min(LIFT)), direct)


@in_double
def trigamma(a: Tensor) -> Tensor:
    """psi1(a) as Hurwitz's zeta(2, a): torch's own trigamma keeps only nine digits."""
    return torch.special.zeta(torch.full_like(a, 2.0), a)


def lifted(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the smaller of two arguments is below Stirling's series, and by how much to raise both."""
    small = torch.minimum(a, b) < LIFT
    return small, small * LIFT


def steps_up(a: Tensor) -> Tensor:
    """a, a + 1, ..., a + 7 along a new last dimension."""
    return a.unsqueeze(-1) + torch.arange(int(LIFT), dtype=a.dtype, device=a.device)


@in_double
def lgamma_difference(a: Tensor, g: Tensor) -> Tensor:
    """log Gamma(a + g) - log Gamma(a) for a > 0 and a + g > 0: neither a large a nor a small g cancels (maths 4.2)."""
    a, g = torch.broadcast_tensors(a, g)
    small, lift = lifted(a, a + g)
    x = a + lift
    y = x + g
    raised = (x - 0.5) * torch.log1p(g / x) + g * y.log() - g + stirling_series(y) - stirling_series(x)
    steps = torch.log1p(g.unsqueeze(-1) / steps_up(torch.where(small, a, g.abs() + LIFT))).sum(-1)
    return raised - torch.where(small, steps, torch.zeros_like(steps))


@in_double
def scaled_expint(x: Tensor) -> Tensor:
    """e^x E1(x), x > 0, to full relative accuracy from x = 1e-12 up (maths 4.1).

    The trapezoid rule in t = log(x s) of the integral of e^(-x s) / (1 + s), 257 nodes: a sum of positive terms.
    """
    t = torch.linspace(-60.0, 4.0, 257, dtype=x.dtype, device=x.device)
    node = t.exp()
    return (0.25 * torch.exp(t - node) / (x.unsqueeze(-1) + node)).sum(-1)
