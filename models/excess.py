"""By how much the logarithm of the Gamma function exceeds its tangents: the Gamma law's own divergences.

Each function computes in float64, returns the dtype of its arguments and is one node of the graph, its slopes in
closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrorec.models.special import (
    LIFT,
    NEAR_ONE,
    STIRLING,
    deviance,
    in_double,
    lifted,
    phi1_ratio,
    steps_up,
    trigamma,
)

Unary = Callable[[Tensor], Tensor]
Binary = Callable[[Tensor, Tensor], Tensor]


class _Excess(torch.autograd.Function):
    """f(a) - f(b) - (a - b) f'(b) in one node of the graph, given its value, f' and f''."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, value: Binary, slope: Unary, curvature: Unary) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.slope, ctx.curvature = slope, curvature
        return value(a, b)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        a, b = ctx.saved_tensors
        by_a = grads[0] * (ctx.slope(a) - ctx.slope(b))
        return by_a, grads[0] * (b - a) * ctx.curvature(b), None, None, None


@in_double
def lgamma_excess(a: Tensor, b: Tensor) -> Tensor:
    """log Gamma(a) - log Gamma(b) - (a - b) psi(b) >= 0, to full relative accuracy also near a = b.

    Where a term by term evaluation would cancel, the recurrence of log Gamma adds phi1((a + j) / (b + j)) for each
    step up to Stirling's series, and every term is positive.
    """
    a, b = torch.broadcast_tensors(a, b)
    return _Excess.apply(a, b, _lgamma_excess, torch.digamma, trigamma)


@in_double
def stirling_excess(a: Tensor, b: Tensor) -> Tensor:
    """f(a) - f(b) - (a - b) f'(b) >= 0 of the convex f(x) = log Gamma(x) - x log x + x (maths 4.2).

    From 8 on by Stirling's series, where nothing cancels; below as the excess of log Gamma less that of x log x - x.
    """
    a, b = torch.broadcast_tensors(a, b)
    return _Excess.apply(a, b, _stirling_excess, lambda x: torch.digamma(x) - x.log(), lambda x: trigamma(x) - 1 / x)


def _lgamma_excess(a: Tensor, b: Tensor) -> Tensor:
    least = torch.minimum(a, b)
    cancels = (least >= LIFT) | ((a - b).abs() < NEAR_ONE * least)
    value = torch.lgamma(a) - torch.lgamma(b) - (a - b) * torch.digamma(b)
    return value.masked_scatter(cancels, _raised_excess(a[cancels], b[cancels]))


def _raised_excess(a: Tensor, b: Tensor) -> Tensor:
    """`lgamma_excess` by Stirling's series, from raised arguments where they are small."""
    small, lift = lifted(a, b)
    steps = phi1_ratio(steps_up(a[small]), steps_up(b[small])).sum(-1)
    x, y = a + lift, b + lift
    return deviance(x, y) + _large_excess(x, y) + torch.zeros_like(a).masked_scatter(small, steps)


def _stirling_excess(a: Tensor, b: Tensor) -> Tensor:
    large = torch.minimum(a, b) >= LIFT
    low_a, low_b = a[~large], b[~large]
    value = torch.zeros_like(a).masked_scatter(large, _large_excess(a[large], b[large]))
    return value.masked_scatter(~large, _lgamma_excess(low_a, low_b) - deviance(low_a, low_b))


def _large_excess(a: Tensor, b: Tensor) -> Tensor:
    """`stirling_excess` for a, b >= LIFT.

    With r = b / a the power a^-m exceeds its tangent at b by b^-m (1 - r)^2 [m / r + s_m], where s_1 = 0 and
    s_(m+1) = r s_m + m: the distance enters squared, once, and no difference is left.
    """
    r = b / a
    power, s, total = 1 / b, torch.zeros_like(r), torch.zeros_like(r)
    for m in range(1, 2 * len(STIRLING)):
        if m % 2:
            total = total + STIRLING[m // 2] * power * (m / r + s)
        s = r * s + m
        power = power / b
    return 0.5 * phi1_ratio(a, b) + ((a - b) / a) ** 2 * total
