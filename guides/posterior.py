"""The posterior of a whole side, kept between phases of training and after it."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrorec.models.laws import parameters
from pyrorec.models.posterior_families import PosteriorFamily


class SidePosterior(nn.Module):
    """Means and sds of every row's factors, (rows, K), and the law of every row's effect, as buffers.

    `first` and `second` (rows,) are the two parameters of the effect's law in the order of its constructor, a law of
    the posterior `family`: shape and rate of a Gamma, mean and sd of a Normal. A `second` of zero is a point. Nothing
    here carries a gradient.
    """

    mean: Tensor
    sd: Tensor
    first: Tensor
    second: Tensor

    def __init__(self, rows: int, factors: int, scale: float, family: PosteriorFamily | None) -> None:
        super().__init__()
        self.family = family
        start = dist.Normal(torch.zeros(()), torch.ones(())) if family is None else typical(family)
        self.kind: Any = type(start)
        first, second = parameters(start)
        self.register_buffer("mean", torch.zeros(rows, factors))
        self.register_buffer("sd", torch.full((rows, factors), scale))
        self.register_buffer("first", first.repeat(rows))
        self.register_buffer("second", second.repeat(rows))

    @property
    def factors(self) -> dist.TorchDistribution:
        """q of the factors, batch shape (rows,), event shape (K,)."""
        return dist.Normal(self.mean, self.sd).to_event(1)

    @property
    def effect(self) -> dist.TorchDistribution | None:
        """q of the effect, batch shape (rows,)."""
        if self.family is None:
            return None
        law: dist.TorchDistribution = self.kind(self.first, self.second)
        return law if bool((self.second > 0).all()) else dist.Delta(self.first)

    @torch.no_grad()
    def set_effect(self, law: dist.TorchDistribution, ids: Tensor | slice = slice(None)) -> None:
        """Keeps the law of the effect of some rows: one of the family, or points. Raises TypeError for another."""
        if isinstance(law, dist.Delta):
            self.first[ids], self.second[ids] = law.v, 0.0
            return
        if not isinstance(law, self.kind):
            raise TypeError(f"kept are {self.kind.__name__} laws, not {type(law).__name__}")
        self.first[ids], self.second[ids] = parameters(law)


def typical(family: PosteriorFamily) -> dist.TorchDistribution:
    """The law at location 0 and log spread 0: Gamma(1, 1), N(0, 1) and their like."""
    return family.law(torch.zeros(()), torch.zeros(()))
