"""The same normal prior for every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyrorec.models.factor_priors.base import FactorPrior, RowPrior


@dataclass(frozen=True)
class Standard(FactorPrior):
    """N(0, scale) on every factor of every row (maths 6.1)."""

    name: ClassVar[str] = "standard"

    def build(self, factors: int, scale: float, features: Tensor | None, centred: bool) -> RowPrior:
        return SameForAll(factors, scale)


class SameForAll(RowPrior):
    """N(0, scale) with a scale that is not learned."""

    like: Tensor

    def __init__(self, factors: int, scale: float) -> None:
        super().__init__(factors)
        self.sd = scale
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def mean(self, ids: Tensor) -> Tensor:
        return self.like.new_zeros(len(ids), self.factors)

    @property
    def scale(self) -> Tensor:
        return self.like.new_full((), self.sd)
