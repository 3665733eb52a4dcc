"""Nodes of the trapezoid rule: where it starts and ends, how fine it is, and where it must be finer or coarser.

The rule converges like e^(-2 pi y / h) for step h and an integrand analytic in a strip of half-width y (maths 4.3).
Every function here serves to choose y, h and the window so that a given fraction e^-drop is lost; the number of
nodes is what the most demanding element of a batch needs. Nodes carry no gradient.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

DROP = 32.0
"""The integrals leave out e^-32 of their value: about 1e-14."""
MOST_NODES = 8192
"""An element that asks for more than this (sd beyond 100, say) gets this many and is less accurate."""
NEAR_EDGE = 0.95
"""The strip reaches this fraction of the way to the nearest singularity, where the integrand is still moderate."""


class Grid(NamedTuple):
    """Nodes of a rule and the logarithm of the step at each, the leading axis running over the nodes."""

    node: Tensor
    log_step: Tensor


class Pole(NamedTuple):
    """A singularity at `at` + i `depth`, nearer the axis than the strip of half-width `reach` that the rest allows."""

    at: Tensor
    depth: Tensor
    reach: Tensor


def uniform(low: Tensor, high: Tensor, step: Tensor) -> Grid:
    """Equidistant nodes from low to high, shape (nodes, *batch), none further apart than step."""
    with torch.no_grad():
        low, high, step = torch.broadcast_tensors(low, high, step)
        intervals = _most_intervals((high - low) / step)
        fraction = torch.linspace(0, 1, intervals + 1, dtype=low.dtype, device=low.device)
        node = low + (high - low) * fraction.reshape(-1, *[1] * low.dim())
        return Grid(node, ((high - low) / intervals).log())


def bent(low: Tensor, high: Tensor, step: Tensor, bend: Tensor, pole: Pole | None = None) -> Grid:
    """As `uniform`, but below `bend` the nodes grow apart exponentially, and near a pole they draw together.

    t = u - e^(bend - u) turns a left tail e^(a t) into a doubly exponential one, so that a window of 1 / a costs
    log(1 / a) nodes. Valid where the integrand has no feature below the bend: all it does there is decay.
    """
    with torch.no_grad():
        grid = pinched(_unbend(low, bend), high, step, pole)
        stretch = torch.exp(bend - grid.node)
        return Grid(grid.node - stretch, grid.log_step + torch.log1p(stretch))


def pinched(low: Tensor, high: Tensor, step: Tensor, pole: Pole | None = None) -> Grid:
    """As `uniform`, but near a pole closer to the axis than its reach the nodes draw together.

    u = at + v - k w tanh(v / w) with 1 - k just below depth / reach, w = reach (1.5 + log(reach / depth)): in v the
    poles (log(a +- i pi), log(a +- 3 i pi), ...) of a logistic in e^u all lie beyond .95 of the reach, for a to 60.
    """
    if pole is None or not bool((pole.depth < pole.reach).any()):
        return uniform(low, high, step)
    with torch.no_grad():
        share = (pole.depth / pole.reach).clamp_max(1.0)
        near = share < 1
        pull = torch.where(near, 1 - 0.95 * share, torch.zeros_like(share))
        width = pole.reach * (1.5 - share.log())
        ends = (_unpinch(end - pole.at, pull, width) for end in (low, high))
        grid = uniform(next(ends), next(ends), torch.where(near, 0.9, 1.0) * step)
        tanh = torch.tanh(grid.node / width)
        node = pole.at + grid.node - pull * width * tanh
        return Grid(node, grid.log_step + torch.log1p(-pull * (1 - tanh**2)))


def logistic_pole(eta: Tensor) -> tuple[Tensor, Tensor]:
    """log(eta + i pi): where a logistic in e^t - eta has its first pole, and how far that is from the real axis.

    For eta <= 0 the distance is pi / 2 or more: no pole worth drawing nodes to.
    """
    with torch.no_grad():
        eta = eta.clamp_min(0.0)
        return 0.5 * torch.log(eta**2 + math.pi**2), torch.atan2(torch.full_like(eta, math.pi), eta)


def gamma_reach(shape: Tensor, drop: float = DROP, limit: float = NEAR_EDGE * math.pi / 2) -> Tensor:
    """Half-width of the strip for a density e^(shape t - e^t) that makes the step longest."""
    return torch.atan(torch.sqrt(2 * drop / shape)).clamp_max(limit)


def trapezoid_step(reach: Tensor, growth: Tensor, drop: float = DROP) -> Tensor:
    """The step that loses e^-drop where the integral along t + i reach is e^growth times that along t."""
    return 2 * math.pi * reach / (drop + growth)


def gamma_step(shape: Tensor, reach: Tensor, drop: float = DROP) -> Tensor:
    """The step under a density e^(shape t - e^t), which grows like (cos reach)^-shape."""
    return trapezoid_step(reach, -shape * torch.log(torch.cos(reach)), drop)


def normal_reach(strip: Tensor, curvature: Tensor | float = 1.0, drop: float = DROP) -> Tensor:
    """Half-width of the strip for a density e^(-curvature e^2 / 2) and an integrand analytic within `strip`."""
    best = torch.sqrt(2 * drop / torch.as_tensor(curvature, dtype=strip.dtype, device=strip.device))
    return torch.minimum(NEAR_EDGE * strip, best)


def normal_step(reach: Tensor, drop: float = DROP) -> Tensor:
    """The step under a density e^(-e^2 / 2), which grows like e^(reach^2 / 2)."""
    return trapezoid_step(reach, 0.5 * reach**2, drop)


def gamma_low(shape: Tensor, drop: float = DROP) -> Tensor:
    """A t that log z, z ~ Gamma(shape, 1), stays above but for probability e^-drop.

    The larger of two bounds: P(z < x) <= x^a / Gamma(a + 1), and P(z < a - sqrt(2 a drop)) <= e^-drop.
    """
    by_power = (torch.lgamma(shape + 1) - drop) / shape
    spread = shape - torch.sqrt(2 * drop * shape)
    return torch.where(spread > 0, torch.maximum(by_power, spread.clamp_min(1e-300).log()), by_power)


def gamma_high(shape: Tensor, drop: Tensor | float = DROP) -> Tensor:
    """A t that log z, z ~ Gamma(shape, 1), stays below but for probability e^-drop: z < (sqrt a + sqrt drop)^2."""
    return 2 * torch.log(torch.sqrt(shape) + torch.as_tensor(drop, dtype=shape.dtype, device=shape.device).sqrt())


def _most_intervals(wanted: Tensor) -> int:
    if wanted.numel() == 0:
        return 1
    return math.ceil(float(wanted.nan_to_num(nan=1.0).clamp(1.0, MOST_NODES).max()))


def _unbend(t: Tensor, bend: Tensor) -> Tensor:
    """u with u - e^(bend - u) = t or a little less, by Newton from below, where it never overshoots."""
    q = t - bend
    p = torch.where(q < 0, -torch.log(2 - q.clamp_max(0)), q)
    for _ in range(4):
        stretch = torch.exp(-p)
        p = p - (p - stretch - q) / (1 + stretch)
    return bend + p


def _unpinch(u: Tensor, pull: Tensor, width: Tensor) -> Tensor:
    """v with v - pull width tanh(v / width) = u or a little further out, by Newton from outside."""
    size = u.abs()
    v = size + pull * width
    for _ in range(4):
        tanh = torch.tanh(v / width)
        v = v - (v - pull * width * tanh - size) / (1 - pull * (1 - tanh**2))
    return v * u.sign()
