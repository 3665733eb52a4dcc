"""The product form with g = 1 - exp(-lambda z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyrorec.models.integrals.saturation import log_saturated
from pyrorec.models.predictors.product import Product


@dataclass(frozen=True)
class ProductSaturation(Product):
    """P(click) = sigma(a) (1 - exp(-lambda z)), lambda = `saturation` > 0 learned (maths 1.2.8)."""

    name: ClassVar[str] = "product-saturation"
    learned: ClassVar[tuple[str, ...]] = ("saturation",)

    saturation: float | Tensor = 1.0

    def log_link(self, log_z: Tensor) -> Tensor:
        """log(1 - e^-x), x = lambda z."""
        return log_saturated(log_z + self.log_parameter.to(log_z))

    def log_unlinked(self, log_z: Tensor) -> Tensor:
        """-x, x = lambda z."""
        return -torch.exp(log_z + self.log_parameter.to(log_z))
