"""Standard normal log-popularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.base import PopularityDistribution, Scale


@dataclass(frozen=True)
class Normal(PopularityDistribution):
    """zeta ~ N(0, 1), the standardised log-popularity; its effect gamma belongs to the predictor (maths 7.1)."""

    name: ClassVar[str] = "normal"
    scale: ClassVar[Scale] = Scale.LOG

    def population(self, like: Tensor | None = None) -> dist.Normal:
        """N(0, 1) on the standardised log scale."""
        like = torch.zeros(()) if like is None else like
        return dist.Normal(like.new_zeros(()), like.new_ones(()))
