"""The Jaakkola-Jordan (Polya-Gamma) bound: softplus lies below a parabola in x, whose mean needs two moments (maths 5).

softplus(x) <= softplus(xi) + (x - xi) / 2 + lambda(xi) (x^2 - xi^2), lambda(xi) = tanh(xi / 2) / (4 xi), for every xi,
with equality at x = +-xi: log(2 cosh(x / 2)) is concave in x^2. The best xi for a mean is xi^2 = E x^2.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST = 1e-12
"""A smaller variance is taken for this: xi stays above zero, and a larger variance is a bound as well."""


def parabola(mean: Tensor, second: Tensor, xi: Tensor) -> Tensor:
    """The mean of the parabola of any xi > 0, elementwise, given E x and `second` = E x^2: never below E softplus(x).

    The sum over cells of one xi needs no more than sums of both moments (maths 6.6).
    """
    return F.softplus(xi) + 0.5 * (mean - xi) + 0.25 * torch.tanh(0.5 * xi) / xi * (second - xi.square())


def bound_and_slopes(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The parabola of the best xi = sqrt(m^2 + v), and its derivatives in mean and variance, elementwise.

    The value is log(1 + e^-xi) + h with h = (xi + m) / 2 = max(m, 0) + v / (2 (xi + |m|)), in which nothing cancels;
    the slopes are sigma(-xi) + tanh(xi / 2) h / xi and lambda(xi), as xi is the best one and may be held still. Steps
    write over one of a few buffers: this is the inner loop of training.
    """
    variance = variance.clamp_min(SMALLEST)
    xi = torch.addcmul(variance, mean, mean).sqrt_()
    half = mean.abs().add_(xi)
    half = torch.div(variance, half, out=half).mul_(0.5).add_(mean.clamp_min(0))
    tail = torch.exp(-xi)
    above_one = tail + 1
    ratio = torch.expm1(-xi).div_(above_one).div_(xi).neg_()  # tanh(xi / 2) / xi
    by_mean = (tail / above_one).addcmul_(ratio, half)
    return half.add_(tail.log1p_()), by_mean, ratio.mul_(0.25)


class _SoftplusBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor) -> Tensor:
        value, *slopes = bound_and_slopes(mean, variance)
        ctx.save_for_backward(*slopes)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        by_mean, by_variance = ctx.saved_tensors
        return grads[0] * by_mean, grads[0] * by_variance


def softplus_bound(mean: Tensor, variance: Tensor) -> Tensor:
    """An upper bound of E softplus(x) for every law of x with this mean and variance, elementwise; gradients of both.

    It exceeds E softplus(x) by at most 5.3e-4, 4.9e-2, .16 and .43 for normal x of sd .1, 1, 2 and 4 (maths 5), and
    equals it as the variance goes to zero.
    """
    bound: Tensor = _SoftplusBound.apply(mean, variance)
    return bound
