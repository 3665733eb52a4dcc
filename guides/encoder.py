"""What encoders return: the law of a row, and the head that makes one of a hidden layer."""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor, nn

APART = 3.0
"""How far apart the means of rows start, in prior sds where hidden units are near one: as spread out as the prior."""


@dataclass(frozen=True)
class RowPosterior:
    """q of some rows: factors with event shape (K,), and the effect where it is not integrated out."""

    factors: dist.TorchDistribution
    effect: dist.TorchDistribution | None

    @property
    def marginals(self) -> tuple[Tensor, Tensor]:
        """Mean and sd of every factor, (rows, K)."""
        if isinstance(self.factors, dist.Independent):
            return self.factors.base_dist.loc, self.factors.base_dist.scale
        return self.factors.mean, self.factors.stddev


class NormalHead(nn.Module):
    """A normal law read off a hidden layer: mean affine, sd = scale x sigmoid(affine).

    Every family here is log-concave in eta, so the best posterior sd of a coordinate never exceeds its
    prior's `scale`: the bound costs nothing and keeps E exp(theta.beta) finite (maths 6.4). `apart` is how far apart
    the rows' means start.
    """

    scale: Tensor

    def __init__(self, inputs: int, outputs: int, scale: float, apart: float = APART) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.mean = nn.Linear(inputs, outputs)
        self.raw_sd = nn.Linear(inputs, outputs)
        nn.init.normal_(self.mean.weight, std=apart * scale / inputs**0.5)
        nn.init.zeros_(self.mean.bias)
        nn.init.zeros_(self.raw_sd.weight)
        nn.init.constant_(self.raw_sd.bias, 1.0)  # start near the prior: an early KL would only be noise

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(hidden), self.scale * torch.sigmoid(self.raw_sd(hidden)) + 1e-6

    def law(self, hidden: Tensor) -> dist.TorchDistribution:
        """The normal law of each row, batch shape (rows,), event shape (outputs,)."""
        return dist.Normal(*self(hidden)).to_event(1)

    @torch.no_grad()
    def standardise(self, mean: Tensor, sd: Tensor) -> None:
        """From now on the law of (x - mean) / sd, where it was that of x."""
        self.mean.weight.div_(sd)
        self.mean.bias.sub_(mean).div_(sd)
        self.scale.div_(sd)
