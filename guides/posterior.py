"""The posterior of a whole side, kept between phases of training and after it."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrorec.models.distributions import PopularityDistribution, Scale


class SidePosterior(nn.Module):
    """Means and sds of every row's factors, (rows, K), and the law of every row's effect, as buffers.

    The effect is Gamma(first = shape, second = rate) on the rate scale, Normal(first = mean, second = sd) on
    the log scale, a point where the sd is zero, as the popularity distribution's scale says. Nothing here
    carries a gradient.
    """

    mean: Tensor
    sd: Tensor
    first: Tensor
    second: Tensor

    def __init__(self, rows: int, factors: int, scale: float, effect: PopularityDistribution | None) -> None:
        super().__init__()
        self.scale = None if effect is None else effect.scale
        self.register_buffer("mean", torch.zeros(rows, factors))
        self.register_buffer("sd", torch.full((rows, factors), scale))
        self.register_buffer("first", torch.ones(rows) if self.scale is Scale.RATE else torch.zeros(rows))
        self.register_buffer("second", torch.ones(rows))

    @property
    def factors(self) -> dist.TorchDistribution:
        """q of the factors, batch shape (rows,), event shape (K,)."""
        return dist.Normal(self.mean, self.sd).to_event(1)

    @property
    def effect(self) -> dist.TorchDistribution | None:
        """q of the effect, batch shape (rows,)."""
        if self.scale is None:
            return None
        if self.scale is Scale.RATE:
            return dist.Gamma(self.first, self.second)
        return dist.Normal(self.first, self.second) if bool((self.second > 0).all()) else dist.Delta(self.first)

    @torch.no_grad()
    def set_effect(self, law: dist.TorchDistribution, ids: Tensor | slice = slice(None)) -> None:
        """Keeps a Gamma or Normal law of the effect of some rows."""
        if isinstance(law, dist.Gamma):
            self.first[ids], self.second[ids] = law.concentration, law.rate
        elif isinstance(law, dist.Delta):
            self.first[ids], self.second[ids] = law.v, 0.0
        else:
            self.first[ids], self.second[ids] = law.mean, law.stddev
