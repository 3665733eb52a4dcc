"""Affinity alone: the BiVAE of the notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.distributions.base import PopularityDistribution, Scale
from pyrorec.models.predictors.base import Offset


@dataclass(frozen=True)
class Plain(Offset):
    """eta = b0 + a: no popularity, so user factors are not centred and no intervention applies (maths 6.1)."""

    name: ClassVar[str] = "plain"
    scale: ClassVar[Scale | None] = None

    def offset(self, popularity: Tensor) -> Tensor:
        """Zero: there is no popularity to add."""
        return torch.zeros_like(popularity)

    def offset_moments(self, law: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(law.mean), torch.zeros_like(law.mean)

    @classmethod
    def default_popularity(cls) -> PopularityDistribution | None:
        return None
