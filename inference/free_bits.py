"""Free bits: factors pay for no divergence below a floor."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.inference.elbo import AnalyticELBO, scaled_sum
from pyrorec.models.distributions.divergence import closed_form_kl


class FreeBitsELBO(AnalyticELBO):
    """The analytic ELBO with each factor's KL, averaged over the rows of its site, replaced by `floor` nats where it
    is less (Kingma et al. 2016).

    No bound: below the floor a factor's KL has no gradient. Sites whose laws are not independent normals, such as
    popularity, pay in full.
    """

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def divergence(self, name: str, q: Any, site: Any) -> Tensor:
        p = site["fn"]
        if not all(isinstance(law, dist.Independent) and isinstance(law.base_dist, dist.Normal) for law in (q, p)):
            return super().divergence(name, q, site)
        by_factor = closed_form_kl(q.base_dist, p.base_dist)
        floored = torch.maximum(by_factor.mean(0), by_factor.new_tensor(self.floor))
        return scaled_sum(floored.sum().expand(by_factor.shape[:1]), site)
