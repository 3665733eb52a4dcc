"""Nodes for a wide normal law: fine where the integrand has its features, as coarse as the density allows elsewhere.

With a large sd the features of f(mean + sd e) take up a small part of the window in e. e = M(v) has slope one across
that part, the core, and a larger slope beyond, so that the number of nodes stays bounded as the sd grows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyrorec.models.integrals.grid import DROP, Grid, Pole, pinched, trapezoid_step
from pyrorec.models.integrals.saturation import softplus

WIDTH = 1.2
"""The slope changes over this length of x: its own singularities are at pi WIDTH, beyond any strip."""
FAR = 4.0
"""Half-width of the strip in e outside the core."""


Ends = tuple[float | Tensor, float | Tensor]


class Window(NamedTuple):
    """From where to where in e, the half-width of the strip, and the log of how much larger the integral is there."""

    low: Tensor
    high: Tensor
    reach: Tensor
    growth: Tensor


class Core(NamedTuple):
    """From where to where the slope is one, over what length it changes, to what; all in e."""

    left: Tensor
    right: Tensor
    width: Tensor
    slope: Tensor


def relaxed(window: Window, mean: Tensor, sd: Tensor, ends: Ends, pole: Pole | None = None) -> Grid:
    """Nodes e over a window, with the features of the integrand between two values of x; a pole lies among them."""
    with torch.no_grad():
        middle, step = core(window, mean, sd, ends)
        if not bool((middle.slope > 1).any()):
            return pinched(window.low, window.high, step, pole)
        grid = pinched(_inverse(window.low, middle), _inverse(window.high, middle), step, pole)
        node, slope = _forward(grid.node, middle)
        return Grid(node, grid.log_step + slope.log())


def core(window: Window, mean: Tensor, sd: Tensor, ends: Ends) -> tuple[Core, Tensor]:
    """The core between two values of x, and the step; the slope stays one where a larger one would save nothing."""
    growth = window.growth.clamp_min(0.5 * FAR**2)
    slope = FAR / window.reach
    left, right = ((end - mean) / sd for end in ends)
    span = window.high - window.low
    useful = (right - left + span / slope) * (DROP + growth) < span * (DROP + window.growth)
    useful &= slope > 1
    slope = torch.where(useful, slope, torch.ones_like(slope))
    step = trapezoid_step(window.reach, torch.where(useful, growth, window.growth))
    return Core(left, right, WIDTH / sd, slope), step


def _forward(v: Tensor, core: Core) -> tuple[Tensor, Tensor]:
    """M(v) and its slope."""
    up, down = (v - core.right) / core.width, (core.left - v) / core.width
    more = core.slope - 1
    node = v + more * core.width * (softplus(up) - softplus(down))
    return node, 1 + more * (torch.sigmoid(up) + torch.sigmoid(down))


def _inverse(e: Tensor, core: Core) -> Tensor:
    """v with M(v) = e, by Newton from outside, where M is convex to the right and concave to the left."""
    v = e - (1 - 1 / core.slope) * ((e - core.right).clamp_min(0) - (core.left - e).clamp_min(0))
    for _ in range(6):
        node, slope = _forward(v, core)
        v = v - (node - e) / slope
    return v
