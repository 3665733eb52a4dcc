"""The product form with g = z / (z + C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.predictors.product import Product


@dataclass(frozen=True)
class ProductRatio(Product):
    """P(click) = sigma(a) z / (z + C), C = `midpoint` > 0 learned, where g is one half (maths 1.2.8)."""

    name: ClassVar[str] = "product-ratio"
    learned: ClassVar[tuple[str, ...]] = ("midpoint",)

    grows_with_popularity: ClassVar[bool] = True

    midpoint: float | Tensor = 1.0

    def log_link(self, log_z: Tensor) -> Tensor:
        """log sigma(log z - log C)."""
        return F.logsigmoid(log_z - self.log_parameter.to(log_z))

    def log_unlinked(self, log_z: Tensor) -> Tensor:
        """log sigma(log C - log z)."""
        return F.logsigmoid(self.log_parameter.to(log_z) - log_z)
