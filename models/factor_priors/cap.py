"""Constrained adaptive priors: the prior mean of a row is read off its features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrorec.models.factor_priors.base import FactorPrior, RowPrior


@dataclass(frozen=True)
class Cap(FactorPrior):
    """N(f(x), scale): f linear, or with `hidden` a network of tanh layers of these widths (maths 6.3).

    f is learned with the ELBO, from f = 0; `learned_scale` also moves the sd of each factor about it. A row that the
    log does not hold has its prior for posterior.
    """

    name: ClassVar[str] = "cap"
    reads_features: ClassVar[bool] = True

    hidden: tuple[int, ...] = ()
    learned_scale: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden widths must be above zero, not {list(self.hidden)}")

    def build(self, factors: int, scale: float, features: Tensor | None, centred: bool) -> RowPrior:
        if features is None:
            raise ValueError("a cap prior reads features, and none were given")
        return FeatureMeans(features, self.hidden, factors, scale, centred, self.learned_scale)


class FeatureMeans(RowPrior):
    """N(f(x) - centre, scale); `centre` is the mean of f over the rows of a centred side, a constant for the gradient.

    The features stand in the module, and are no part of its saved state.
    """

    features: Tensor
    centre: Tensor

    def __init__(
        self, features: Tensor, hidden: tuple[int, ...], factors: int, scale: float, centred: bool, learned: bool
    ) -> None:
        super().__init__(factors)
        self.centred = centred
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("centre", torch.zeros(factors))
        widths = (features.shape[1], *hidden)
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.Tanh())]
        self.last = nn.Linear(widths[-1], factors)
        self.hidden = nn.Sequential(*layers)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        log_scale = torch.full((factors,), math.log(scale))
        self.log_scale = nn.Parameter(log_scale, requires_grad=learned)

    def f(self, features: Tensor) -> Tensor:
        """Prior means at some features (rows, columns), less the centre: (rows, K)."""
        mean: Tensor = self.last(self.hidden(features)) - self.centre
        return mean

    def mean(self, ids: Tensor) -> Tensor:
        return self.f(self.features[ids])

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    def of(self, features: Tensor) -> dist.TorchDistribution:
        mean = self.f(features)
        return dist.Normal(mean, self.scale.expand_as(mean)).to_event(1)

    @torch.no_grad()
    def recentre(self) -> None:
        if self.centred:
            self.centre.add_(self.f(self.features).mean(0))
