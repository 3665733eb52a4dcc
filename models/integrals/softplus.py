"""E softplus(x) under a normal x in one pass over few nodes, with its gradient: the inner loop of training clicks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.integrals.normal import softplus_normal

NODES = 20
WIDE = 2.0
"""Variance beyond which 20 nodes no longer serve: their error is 1.3e-8 there, and grows fast."""


class ExpectedSoftplus(torch.autograd.Function):
    """E softplus(m + s e) by 20-point Gauss-Hermite, with d/dm = E sigma and d/dv = (1/2) E sigma' (maths 5)."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor) -> Tensor:
        sd = variance.sqrt()
        value, slope, curvature = (torch.zeros_like(mean) for _ in range(3))
        for node, weight in zip(*_rule(), strict=True):
            x = mean + node * sd
            p = torch.sigmoid(x)
            value.add_(F.softplus(x), alpha=weight)
            slope.add_(p, alpha=weight)
            curvature.add_(p * (1 - p), alpha=weight)
        ctx.save_for_backward(slope, 0.5 * curvature)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        slope, half_curvature = ctx.saved_tensors
        return grads[0] * slope, grads[0] * half_curvature


@lru_cache
def _rule() -> tuple[list[float], list[float]]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return nodes.tolist(), (weights / weights.sum()).tolist()


def expected_softplus(mean: Tensor, variance: Tensor) -> Tensor:
    """E softplus(x), x ~ N(mean, variance), elementwise, in the dtype given; gradients of both.

    Error below 2e-8 for variances up to 2; wider ones take `softplus_normal`, at several times the cost.
    """
    wide = variance > WIDE
    if not bool(wide.any()):
        return ExpectedSoftplus.apply(mean, variance)
    narrow: Tensor = ExpectedSoftplus.apply(mean, torch.where(wide, torch.ones_like(variance), variance))
    return narrow.masked_scatter(wide, softplus_normal(mean[wide], variance[wide].sqrt()))
