"""The product form with g = 1 - exp(-lambda z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pyrorec.models.predictors.product import Product
from pyrorec.models.special import log1mexp


@dataclass(frozen=True)
class ProductSaturation(Product):
    """P(click) = sigma(a) (1 - exp(-lambda z)), lambda = `saturation` > 0 learned (maths 1.2.8)."""

    name: ClassVar[str] = "product-saturation"
    learned: ClassVar[tuple[str, ...]] = ("saturation",)

    saturation: float | Tensor = 1.0

    def log_link(self, popularity: Tensor) -> Tensor:
        """log(1 - e^-x), x = lambda z."""
        return log1mexp(self.saturation * popularity)

    def log_unlinked(self, popularity: Tensor) -> Tensor:
        """-x, x = lambda z."""
        return -self.saturation * popularity
