"""Rows that share one latent rate, integrated out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.families import Family
from pyrorec.models.rows.base import RowDistribution
from pyrorec.models.rows.sparse import SparseRows

Typical = Callable[[], Tensor]


class FrailtyRows(RowDistribution):
    """Rows whose rates are all multiplied by one z ~ Gamma(shape, rate) of the row's own.

    `shape` and `rate` are numbers or (rows,); the rate is by default the shape, for a mean of one.
    """

    def __init__(
        self, family: Family, factors: Tensor, loadings: Tensor, missing_weight: float, shape: Tensor | float,
        rate: Tensor | float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(family, factors, loadings, missing_weight)
        like: Any = {"dtype": factors.dtype, "device": factors.device}
        self.frailty_shape = torch.as_tensor(shape, **like)
        self.frailty_rate = torch.as_tensor(shape if rate is None else rate, **like)

    @abstractmethod
    def frailty_posterior(self, value: SparseRows | Tensor, typical: Typical | None = None) -> dist.Gamma:
        """The law of z given the row, batch shape (rows,); exact or the nearest Gamma, as the class says.

        Under uncertain factors and effects the linear predictor should hold log expected rates, and `typical` give
        the expected log rate of each stored cell (cells,), where the two differ; it is called only if needed.
        """

    def linear_predictor(self, sample_shape: torch.Size) -> Tensor:
        """eta with a fresh z for each row of each draw: rows draw from the population, not the posterior."""
        eta = super().linear_predictor(sample_shape)
        frailty = dist.Gamma(self.frailty_shape, self.frailty_rate).expand(self.batch_shape).sample(sample_shape)
        return eta + frailty.clamp_min(torch.finfo(eta.dtype).tiny).log()[..., None]
