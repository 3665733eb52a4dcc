"""A covariance of low rank beside independent noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Independent, LowRankMultivariateNormal, register_kl

from pyrorec.guides.covariances.full import against_independent
from pyrorec.guides.encoder import NormalHead
from pyrorec.models.encoding import Covariance

STARTING_WEIGHT = 0.1
"""Entries of the low-rank part start at about this share of the scale: at zero they would have no gradient."""


@dataclass(frozen=True)
class LowRank(Covariance):
    """q of a row's factors is a normal with covariance W W' + diag(sd^2), W of `rank` columns.

    Alternation keeps the marginals, as under `Full`.
    """

    name: ClassVar[str] = "low-rank"

    rank: int = 2

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, not {self.rank}")

    def head(self, inputs: int, factors: int, scale: float) -> NormalHead:
        return LowRankHead(inputs, factors, scale, self.rank)


class LowRankHead(NormalHead):
    """Means and sds of a `NormalHead`, and W affine in the hidden layer."""

    def __init__(self, inputs: int, outputs: int, scale: float, rank: int) -> None:
        super().__init__(inputs, outputs, scale)
        self.rank = rank
        self.shared = nn.Linear(inputs, outputs * rank)
        nn.init.zeros_(self.shared.weight)
        nn.init.normal_(self.shared.bias, std=STARTING_WEIGHT)

    def law(self, hidden: Tensor) -> dist.TorchDistribution:
        mean, sd = self(hidden)
        shared = self.scale * self.shared(hidden).unflatten(-1, (-1, self.rank))
        return dist.LowRankMultivariateNormal(mean, shared, sd.square(), validate_args=False)


@register_kl(LowRankMultivariateNormal, Independent)
def _(q: Any, p: Any) -> Tensor:
    """As for a full covariance; log det by the capacitance matrix I + W' D^-1 W, of the rank's size."""
    scaled = q.cov_factor / q.cov_diag.sqrt()[..., None]
    inner = scaled.mT @ scaled + torch.eye(q.cov_factor.shape[-1], dtype=scaled.dtype, device=scaled.device)
    half = 0.5 * (q.cov_diag.log().sum(-1) + torch.linalg.slogdet(inner).logabsdet)
    return against_independent(q, p, half)
