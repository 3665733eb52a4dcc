"""Normal priors whose scale is learned: one per side, or one per factor and side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyrorec.models.factor_priors.base import FactorPrior, RowPrior


@dataclass(frozen=True)
class LearnedScale(FactorPrior):
    """N(0, scale), the scale moved with the ELBO from where it is given.

    `per_factor` gives every factor a scale of its own: automatic relevance determination, under which a factor that
    the log does not support shrinks to nothing (it goes further than ranking likes; see docs/design.md). The sds of
    the encoders stay below the starting scale.
    """

    name: ClassVar[str] = "learned-scale"

    per_factor: bool = False

    def build(self, factors: int, scale: float, features: Tensor | None, centred: bool) -> RowPrior:
        return Scaled(factors, scale, self.per_factor)


class Scaled(RowPrior):
    """N(0, exp(log_scale)) for every row."""

    def __init__(self, factors: int, scale: float, per_factor: bool) -> None:
        super().__init__(factors)
        self.log_scale = nn.Parameter(torch.full((factors,) if per_factor else (), math.log(scale)))

    def mean(self, ids: Tensor) -> Tensor:
        return self.log_scale.new_zeros(len(ids), self.factors)

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()
