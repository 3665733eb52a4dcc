"""The trapezoid rule under a normal law, its window moved to where the integrand is (maths 4.4)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyrorec.models.integrals.grid import DROP, Grid, Pole, normal_reach
from pyrorec.models.integrals.relaxed import Ends, Window, relaxed
from pyrorec.models.special import HALF_LOG_TWO_PI

WIDTH = math.sqrt(2 * DROP)
LOGISTIC = (-7.0, 7.0)
"""Beyond these x a logistic and what is made of it are flat, exponential or linear."""


class NormalNodes(NamedTuple):
    """Values x = mean + sd e at the nodes e, and the logarithms of their weights; leading axis over the nodes.

    The nodes e are constants, so that gradients reach mean and sd through x alone.
    """

    x: Tensor
    log_weight: Tensor

    def mean(self, f: Tensor) -> Tensor:
        """E f from the values of f at the nodes."""
        return (self.log_weight.exp() * f).sum(0)

    def log_mean(self, log_f: Tensor) -> Tensor:
        """log E f from the values of log f at the nodes."""
        return torch.logsumexp(self.log_weight + log_f, 0)


def nodes(
    mean: Tensor, sd: Tensor, centre: Tensor, strip: float, ends: Ends, pole: tuple[Tensor, Tensor] | None = None
) -> NormalNodes:
    """Nodes for an integrand analytic for |Im x| < strip whose product with the density peaks near e = centre.

    The product must fall off from there at least as fast as the density from zero. Beyond `ends`, a smaller and a
    larger value of x, the integrand has no features. A pole is a point of x and its distance from the real axis
    there, of use where that is below the strip.
    """
    mean, sd = torch.broadcast_tensors(mean, sd)
    with torch.no_grad():
        window = about(centre, sd, strip)
        near = None if pole is None else Pole((pole[0] - mean) / sd, pole[1] / sd, window.reach)
        grid = relaxed(window, mean, sd, ends, near)
    return weighted(mean, sd, grid)


def about(centre: Tensor, sd: Tensor, strip: float) -> Window:
    """The window of the normal density moved to a centre."""
    with torch.no_grad():
        reach = normal_reach(strip / sd)
        return Window(centre - WIDTH, centre + WIDTH, reach, 0.5 * reach**2)


def weighted(mean: Tensor, sd: Tensor, grid: Grid) -> NormalNodes:
    """The nodes of a grid in e with the standard normal density as their weight."""
    return NormalNodes(mean + sd * grid.node, grid.log_step - 0.5 * grid.node**2 - HALF_LOG_TWO_PI)


def rising_centre(mean: Tensor, sd: Tensor, power: float = 1.0) -> Tensor:
    """clip(-mean / sd, 0, power sd): where phi(e) f(mean + sd e) peaks, f like e^(power x) below 0, flat above."""
    with torch.no_grad():
        return torch.minimum((-mean / sd.clamp_min(1e-100)).clamp_min(0.0), power * sd)
