"""A guide that draws the passive side once a phase, for comparison."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.guides.bilateral import BilateralGuide
from pyrorec.models.bilateral import Batch, Bilateral
from pyrorec.models.rows import SparseRows
from pyrorec.models.side import Side


class DrawnBefore(dist.Normal):
    """A normal law whose every draw is one that was made before."""

    def __init__(self, loc: Tensor, scale: Tensor, value: Tensor) -> None:
        super().__init__(loc, scale, validate_args=False)
        self.value = value

    def expand(self, batch_shape: Any, _instance: Any = None) -> DrawnBefore:
        loc, scale, value = (part.expand(batch_shape) for part in (self.loc, self.scale, self.value))
        return DrawnBefore(loc, scale, value)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.value.expand(torch.Size(sample_shape) + self.value.shape)


class StoredGuide(BilateralGuide):
    """The passive side's factors are one draw, made at its last refresh and kept until the next (maths 6.2).

    What a step then follows is the gradient of another objective, the log-likelihood at that draw. Effects are drawn
    anew as elsewhere.
    """

    def __init__(self, model: Bilateral, *arguments: Any) -> None:
        super().__init__(model, *arguments)
        for side in (model.user, model.item):
            self.register_buffer(f"{side.name}_draw", torch.zeros(side.size, side.factors))

    def _passive(
        self, model: Bilateral, side: Side, batch: Batch
    ) -> tuple[dist.TorchDistribution, dist.TorchDistribution | None]:
        factors, effect = super()._passive(model, side, batch)
        law = factors.base_dist
        return DrawnBefore(law.loc, law.scale, getattr(self, f"{side.name}_draw")).to_event(1), effect

    @torch.no_grad()
    def refresh(self, model: Bilateral, side: str, rows: SparseRows) -> None:
        super().refresh(model, side, rows)
        kept = self._kept(side)
        getattr(self, f"{side}_draw").copy_(kept.mean + kept.sd * torch.randn_like(kept.mean))
