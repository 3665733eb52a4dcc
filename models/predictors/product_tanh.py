"""The product form with g = tanh(lambda z / 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pyrorec.models.integrals.saturation import log_saturated
from pyrorec.models.predictors.product import Product


@dataclass(frozen=True)
class ProductTanh(Product):
    """P(click) = sigma(a) tanh(lambda z / 2) = sigma(a) (2 sigma(lambda z) - 1), `steepness` lambda > 0 learned.

    It stands in for the decreasing sigma(-lambda z) of the source note (maths 1.3, B10).
    """

    name: ClassVar[str] = "product-tanh"
    learned: ClassVar[tuple[str, ...]] = ("steepness",)

    steepness: float | Tensor = 1.0

    def log_link(self, log_z: Tensor) -> Tensor:
        """log(1 - e^-x) - log(1 + e^-x), x = lambda z."""
        log_x = log_z + self.log_parameter.to(log_z)
        return log_saturated(log_x) - torch.log1p(torch.exp(-torch.exp(log_x)))

    def log_unlinked(self, log_z: Tensor) -> Tensor:
        """log 2 - x - log(1 + e^-x), x = lambda z, without what cancels at small x."""
        x = torch.exp(log_z + self.log_parameter.to(log_z))
        return -x - torch.log1p(0.5 * torch.expm1(-x))
