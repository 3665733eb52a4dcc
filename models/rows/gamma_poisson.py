"""Poisson rows with their own Gamma frailty integrated out."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrorec.models.mass import LARGEST_LOG_RATE
from pyrorec.models.rows.base import as_rows
from pyrorec.models.rows.decode import with_offsets
from pyrorec.models.rows.frailty import FrailtyRows, Typical
from pyrorec.models.rows.sparse import SparseRows

SMALLEST_MASS = 1e-300
"""Stands for the mass of a row that has none, whose logarithm must stay finite."""


class GammaPoissonRows(FrailtyRows):
    """y_c ~ Poisson(trials_c z e^{eta_c}) with one z ~ Gamma(shape, rate) per row, z integrated out.

    log p(row) = sum_stored [y eta + log h(y)] + log G(a+n) - log G(a) + a log b - (a+n) log(b + S),
    with a the shape, b the rate, n the row's total and S its mass (maths 2.5, design 5). Row terms are in float64: with
    totals of millions float32 would lose the fraction.
    """

    def log_prob(self, value: SparseRows | Tensor) -> Tensor:
        rows = as_rows(value)
        log_mass, eta = self.log_mass(rows)
        value_, trials = rows.value.double(), rows.trials.double()
        cells = rows.sum_by_row(value_ * eta.double() + self.family.log_base(value_, trials))  # type: ignore[attr-defined]
        a, log_b, n = self.frailty_shape.double(), self.frailty_rate.double().log(), rows.totals.double()
        marginal = torch.lgamma(a + n) - torch.lgamma(a) + a * log_b - (a + n) * torch.logaddexp(log_b, log_mass)
        return (cells + marginal).to(eta.dtype)

    def frailty_posterior(self, value: SparseRows | Tensor, typical: Typical | None = None) -> dist.Gamma:
        """z | row ~ Gamma(a + n, b + S): exact (conjugate); only expected rates enter."""
        rows = as_rows(value)
        log_mass, _ = self.log_mass(rows)
        mass = log_mass.exp().clamp_max(torch.finfo(self.factors.dtype).max / 1e3).to(self.factors.dtype)
        return dist.Gamma(self.frailty_shape + rows.totals, self.frailty_rate + mass)

    def log_mass(self, rows: SparseRows) -> tuple[Tensor, Tensor]:
        """log S of each row (rows,), in float64, and eta at the stored cells (cells,).

        Where a rate leaves the range in which exp is exact, the row is decoded again with its largest eta taken
        off: a continued exp would grow too slowly for the likelihood to stay bounded.
        """
        mass, eta = self.row_mass(rows)
        if bool((mass.detach() < math.exp(LARGEST_LOG_RATE)).all()):
            return mass.double().clamp_min(SMALLEST_MASS).log(), eta
        top = self.largest(rows, eta.detach())
        factors, loadings = with_offsets(self.factors, self.loadings, -top, None)
        lowered = GammaPoissonRows(
            self.family, factors, loadings, self.missing_weight, self.frailty_shape, self.frailty_rate
        )
        mass, eta = lowered.row_mass(rows)
        return mass.double().clamp_min(SMALLEST_MASS).log() + top.double(), eta + top[rows.row]

    def largest(self, rows: SparseRows, eta: Tensor) -> Tensor:
        """The largest linear predictor among the columns that a row says something of, (rows,), without gradient."""
        said = rows.trials > 0
        if self.missing_weight:
            dense = self.factors.detach() @ self.loadings.detach().T
            dense.view(-1)[rows.flat[~said]] = -math.inf
            return torch.nan_to_num(dense.amax(-1), neginf=0.0)
        none = torch.zeros(len(rows), dtype=eta.dtype, device=eta.device)
        return none.scatter_reduce(0, rows.row[said], eta[said], "amax", include_self=False)
