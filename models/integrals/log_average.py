"""Logarithms of averages under a normal law: densities of what has not been seen yet."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NODES = 97
REACH = 12.0
STEPS = 25
LARGEST_STEP = 4.0
WIDEST = 0.5
"""Smallest curvature of the integrand's logarithm, as a share of the normal's own: a node's width is bounded."""


def log_normal_average(log_f: Callable[[Tensor], Tensor], mean: Tensor, sd: Tensor) -> Tensor:
    """log E f(x), x ~ N(mean, sd), elementwise, in the dtype given; no gradient.

    A trapezoid of 97 nodes about the mode of f phi, as wide as the curvature there says: a likelihood much narrower
    than the normal law is met by all nodes. For log-concave f within 1e-8 of a fine sum (tests).
    """
    with torch.enable_grad():
        mode, width = _mode(log_f, mean.detach(), sd.detach())
    with torch.no_grad():
        step = 2 * REACH / (NODES - 1)
        total = torch.full_like(mode, -torch.inf)
        for k in range(NODES):
            x = mode + (k * step - REACH) * width
            total = torch.logaddexp(total, log_f(x) - 0.5 * ((x - mean) / sd) ** 2)
        return total + torch.log(step * width / sd) - 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=mode.dtype))


def _mode(log_f: Callable[[Tensor], Tensor], mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
    """The mode of f phi by Newton's method, and the sd of the normal with the curvature there."""
    x, precision = mean.clone(), sd**-2
    for _ in range(STEPS):
        slope, curvature = _slopes(log_f, x)
        curvature = (precision - curvature).clamp_min(WIDEST * precision)
        move = (slope - (x - mean) * precision) / curvature
        x = x + move.clamp(-LARGEST_STEP, LARGEST_STEP)
    _, curvature = _slopes(log_f, x)
    return x, (precision - curvature).clamp_min(WIDEST * precision).rsqrt()


def _slopes(log_f: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """First and second derivative of log f, elementwise, without gradient of their own."""
    x = at.detach().requires_grad_()
    (slope,) = torch.autograd.grad(log_f(x).sum(), x, create_graph=True)
    if not slope.requires_grad:
        return slope.detach(), torch.zeros_like(slope)
    (curvature,) = torch.autograd.grad(slope.sum(), x, allow_unused=True)
    return slope.detach(), torch.zeros_like(slope) if curvature is None else curvature.detach()
