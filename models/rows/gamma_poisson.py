"""Poisson rows with their own Gamma frailty integrated out."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.rows.base import as_rows
from pyrorec.models.rows.frailty import FrailtyRows
from pyrorec.models.rows.sparse import SparseRows


class GammaPoissonRows(FrailtyRows):
    """y_c ~ Poisson(trials_c z e^{eta_c}) with one z ~ Gamma(shape, shape) per row, z integrated out.

    log p(row) = sum_stored [y eta + log h(y)] + log G(a+n) - log G(a) + a log a - (a+n) log(a + S),
    with a the shape, n the row's total and S its mass (maths 2.5, design 5). Row terms are in float64: with
    totals of millions float32 would lose the fraction.
    """

    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        rows = as_rows(value)
        mass, eta = self.row_mass(rows)
        value_, trials = rows.value.double(), rows.trials.double()
        cells = rows.sum_by_row(value_ * eta.double() + self.family.log_base(value_, trials))  # type: ignore[attr-defined]
        a, n = self.frailty_shape.double(), rows.totals.double()
        marginal = torch.lgamma(a + n) - torch.lgamma(a) + a * a.log() - (a + n) * torch.log(a + mass.double())
        return (cells + marginal).to(eta.dtype)

    def frailty_posterior(self, value: SparseRows | Tensor, typical: Tensor | None = None) -> dist.Gamma:
        """z | row ~ Gamma(a + n, a + S): exact (conjugate); only expected rates enter."""
        rows = as_rows(value)
        mass, _ = self.row_mass(rows)
        return dist.Gamma(self.frailty_shape + rows.totals, self.frailty_shape + mass)
