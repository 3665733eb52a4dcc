"""Priors of one side's factors: a value that says which, and the module that holds what is learned of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrorec.models.component import Component
from pyrorec.models.registry import Registry


class FactorPrior(Component):
    """Which prior the factors of a side have; every one is a normal with independent coordinates.

    `reads_features` says whether its mean is read off the side's features.
    """

    registry: ClassVar[Registry[FactorPrior]] = Registry("factor prior")
    reads_features: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)

    @abstractmethod
    def build(self, factors: int, scale: float, features: Tensor | None, centred: bool) -> RowPrior:
        """The prior of K `factors`, started at sd `scale`; `features` (rows, columns) where they are read.

        A prior of a `centred` side has mean zero over the side's rows (maths 6.3).
        """


class RowPrior(nn.Module, ABC):
    """p(factors) of the rows of a side: N(mean(ids), scale), event shape (K,)."""

    def __init__(self, factors: int) -> None:
        super().__init__()
        self.factors = factors

    @abstractmethod
    def mean(self, ids: Tensor) -> Tensor:
        """Prior means of some rows, (rows, K), with gradient."""

    @property
    @abstractmethod
    def scale(self) -> Tensor:
        """Prior sds, shape () or (K,), with gradient."""

    def forward(self, ids: Tensor) -> dist.TorchDistribution:
        """The prior of some rows, batch shape (rows,), event shape (K,)."""
        mean = self.mean(ids)
        return dist.Normal(mean, self.scale.expand_as(mean)).to_event(1)

    def of(self, features: Tensor) -> dist.TorchDistribution:
        """The prior of rows that the side does not hold, given their features (rows, columns)."""
        mean = self.scale.new_zeros(len(features), self.factors)
        return dist.Normal(mean, self.scale.expand_as(mean)).to_event(1)

    @torch.no_grad()
    def recentre(self) -> None:
        """Makes the mean over all rows zero, where it is learned and the side is centred."""

    @torch.no_grad()
    def variance(self) -> float:
        """Mean prior variance of a factor."""
        return float(self.scale.square().mean())
