"""The trapezoid rule in t = log y, y ~ Gamma(shape, 1), for integrands with features at known places (maths 4.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyrorec.models.integrals.grid import (
    DROP,
    Grid,
    Pole,
    bent,
    gamma_high,
    gamma_low,
    gamma_reach,
    gamma_step,
)
from pyrorec.models.special import HALF_LOG_TWO_PI, stirling_remainder

MARGIN = 3.0
"""From e^-3 below the lowest feature down, an integrand is its limit to within what the bend of the nodes allows."""


class GammaNodes(NamedTuple):
    """Nodes t = log y without gradient, and the logarithms of their weights with one; leading axis over the nodes."""

    t: Tensor
    log_weight: Tensor

    def mean(self, f: Tensor) -> Tensor:
        """E f from the values of f at the nodes."""
        return (self.log_weight.exp() * f).sum(0)

    def log_mean(self, log_f: Tensor) -> Tensor:
        """log E f from the values of log f at the nodes."""
        return torch.logsumexp(self.log_weight + log_f, 0)


def log_density(shape: Tensor, t: Tensor) -> Tensor:
    """log density of t = log y, y ~ Gamma(shape, 1), about its mode log(shape): a large shape cancels nothing."""
    d = t - shape.log()
    return shape * (d - torch.expm1(d)) + 0.5 * shape.log() - HALF_LOG_TWO_PI - stirling_remainder(shape)


def weighted(shape: Tensor, grid: Grid) -> GammaNodes:
    """The nodes of a grid in t with the density of log y as their weight."""
    return GammaNodes(grid.node, log_density(shape, grid.node) + grid.log_step)


def rising(shape: Tensor, feature: Tensor, pole: tuple[Tensor, Tensor] | None = None) -> GammaNodes:
    """Nodes for f(y) that rises from zero like y up to y = e^feature, and more slowly above.

    Below both the feature and one the integrand falls like e^((shape + 1) t), which ends the window early.
    """
    with torch.no_grad():
        lowest = feature.clamp_max(0.0)
        low = torch.maximum(gamma_low(shape), lowest - DROP / (1 + shape))
        high = gamma_high(shape + 1)
    return between(shape, low, high, lowest, pole)


def falling(shape: Tensor, feature: Tensor, power: float = 0.0) -> GammaNodes:
    """Nodes for f(y) like a constant or log y up to y = e^feature, falling above no faster than y^-power.

    For a shape up to 1 + power the integrand may peak at the feature; for a larger one, near shape - power.
    """
    with torch.no_grad():
        lowest = feature.clamp_max(0.0)
        drop = DROP + 4
        low, high = gamma_low(shape, drop), gamma_high(shape + 1)
        if power:
            bulk = gamma_low((shape - power).clamp_min(1.0), drop)
            low = torch.minimum(low, torch.where(shape > 1 + power, bulk, lowest - drop / shape))
    return between(shape, low, high, lowest)


def between(
    shape: Tensor, low: Tensor, high: Tensor, lowest: Tensor, pole: tuple[Tensor, Tensor] | None = None
) -> GammaNodes:
    """Nodes from low to high that grow apart below the lowest feature; a pole is a point of t and its distance."""
    with torch.no_grad():
        reach = gamma_reach(shape)
        near = None if pole is None else Pole(pole[0], pole[1], reach)
        grid = bent(low, high, gamma_step(shape, reach), lowest - MARGIN, near)
    return weighted(shape, grid)
