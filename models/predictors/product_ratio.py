"""The product form with g = z / (z + C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrorec.models.predictors.product import Product


@dataclass(frozen=True)
class ProductRatio(Product):
    """P(click) = sigma(a) z / (z + C), C = `midpoint` > 0 learned, where g is one half (maths 1.2.8)."""

    name: ClassVar[str] = "product-ratio"
    learned: ClassVar[tuple[str, ...]] = ("midpoint",)

    midpoint: float | Tensor = 1.0

    def log_link(self, popularity: Tensor) -> tuple[Tensor, Tensor]:
        """Log-sigmoids of +-(log z - log C)."""
        x = popularity.log() - torch.as_tensor(self.midpoint, dtype=popularity.dtype, device=popularity.device).log()
        return F.logsigmoid(x), F.logsigmoid(-x)
