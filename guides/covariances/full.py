"""Any covariance, by its Cholesky factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, register_kl

from pyrorec.guides.encoder import NormalHead
from pyrorec.models.encoding import Covariance


@dataclass(frozen=True)
class Full(Covariance):
    """q of a row's factors is a normal with a covariance of its own, K (K + 1) / 2 numbers a row.

    Alternation keeps the marginals: a side that is not being trained, and every answer after training, has independent
    coordinates with these means and sds. The joint schedule trains with both covariances live.
    """

    name: ClassVar[str] = "full"

    def head(self, inputs: int, factors: int, scale: float) -> NormalHead:
        return FullHead(inputs, factors, scale)


class FullHead(NormalHead):
    """Cholesky factor with the diagonal of a `NormalHead`, and entries below it that start at zero."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__(inputs, outputs, scale)
        self.below = nn.Linear(inputs, outputs * (outputs - 1) // 2)
        nn.init.zeros_(self.below.weight)
        nn.init.zeros_(self.below.bias)

    def law(self, hidden: Tensor) -> dist.TorchDistribution:
        mean, sd = self(hidden)
        row, column = torch.tril_indices(mean.shape[-1], mean.shape[-1], -1, device=mean.device)
        factor = torch.diag_embed(sd)
        factor[..., row, column] = self.scale * self.below(hidden)
        return dist.MultivariateNormal(mean, scale_tril=factor, validate_args=False)


@register_kl(MultivariateNormal, Independent)
def _(q: Any, p: Any) -> Tensor:
    """KL(N(m, S) || N(f, s)), the prior's coordinates being independent:
    (1/2) sum_k [(S_kk + (m_k - f_k)^2) / s_k^2 - 1 + 2 log s_k] - (1/2) log det S, batch shape."""
    return against_independent(q, p, q.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1))


def against_independent(q: Any, p: Any, half_log_determinant: Tensor) -> Tensor:
    """KL of a correlated normal from one with independent coordinates, given half its log-determinant."""
    if not isinstance(p.base_dist, torch.distributions.Normal):
        raise NotImplementedError
    squares = (q.variance + (q.mean - p.mean).square()) / p.base_dist.scale.square()
    return 0.5 * (squares - 1).sum(-1) + p.base_dist.scale.log().sum(-1) - half_log_determinant
