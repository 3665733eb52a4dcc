"""Standard normal log-popularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch

from pyrorec.models.distributions.base import PopularityDistribution, Scale


@dataclass(frozen=True)
class Normal(PopularityDistribution):
    """zeta ~ N(0, 1), the standardised log-popularity; its effect gamma belongs to the predictor (maths 7.1)."""

    name: ClassVar[str] = "normal"
    scale: ClassVar[Scale] = Scale.LOG

    def population(self) -> dist.Normal:
        """N(0, 1) on the standardised log scale."""
        return dist.Normal(torch.tensor(0.0), torch.tensor(1.0))
